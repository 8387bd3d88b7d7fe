//! The bytes of a request.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slipway_fuzz::invariants::{NODES, POLICIES, cluster, the_answer_is_a_review};

fuzz_target!(|body: &[u8]| {
    for policy in POLICIES.iter() {
        the_answer_is_a_review(body, cluster(policy, &NODES));
    }
});
