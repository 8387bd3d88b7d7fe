//! The text of a policy file.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use slipway_core::policy::Policy;
use slipway_fuzz::invariants::{NODES, cluster, the_patch_applies_once};

static PODS: LazyLock<[Value; 2]> = LazyLock::new(|| {
    let labels = json!({"actions-ephemeral-runner": "True"});
    let runner = json!({"name": "runner", "image": "x"});
    let dind = json!({"name": "dind", "image": "docker:dind", "args": ["dockerd", "--group=1"]});
    [json!([runner]), json!([runner, dind])].map(
        |containers| json!({"metadata": {"labels": labels}, "spec": {"containers": containers}}),
    )
});

fuzz_target!(|yaml: &str| {
    match Policy::parse(yaml) {
        Ok(policy) => {
            let _ = policy.warnings();
            for pod in PODS.iter() {
                the_patch_applies_once(pod, "ci", cluster(&policy, &NODES));
                the_patch_applies_once(pod, "limited", cluster(&policy, &NODES));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
