//! Claims for tests.

use super::{
    Lease,
    claim::{Annotations, Claim},
};

/// Returns a blank claim of the pool of profile `fast` in the namespace `ci`.
pub(super) fn claim(name: &str) -> Claim {
    Claim {
        namespace: "ci".to_owned(),
        name: name.to_owned(),
        uid: name.to_owned(),
        version: "1".to_owned(),
        profile: "fast".to_owned(),
        terminating: false,
        volume: None,
        size: None,
        created: None,
        annotations: Annotations::default(),
    }
}

/// Returns the same claim with a lease.
pub(super) fn leased(name: &str, lease: &str) -> Claim {
    let mut claim = claim(name);
    claim.annotations.lease = Some(Lease {
        id: lease.to_owned(),
        pod: String::new(),
    });
    claim
}
