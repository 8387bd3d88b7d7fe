//! What a claim says of itself, and the patches that change it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{LEASE, PoolName};

/// Annotation of a leased claim: the pod, for people.
const LEASE_POD: &str = "slipway.io/lease-pod";
/// Annotation of a claim: the cache key of the pod that has it, or had it last.
const CACHE_KEY: &str = "slipway.io/cache-key";
/// Annotation of a claim: when it was last leased or released, RFC 3339. Nothing unsafe follows
/// from a clock that is wrong: it orders claims, and says when an idle one is deleted.
const LAST_USED: &str = "slipway.io/last-used";
/// Annotation of a claim: how many pods had it.
const LEASES: &str = "slipway.io/leases";
/// Annotation of a claim: how many of them found the layers of their own cache key.
const WARM_LEASES: &str = "slipway.io/warm-leases";
/// Annotation of a bound claim: the node selector terms of its volume, as JSON; `[]` for a volume
/// that every node can reach.
pub const TOPOLOGY: &str = "slipway.io/topology";

/// A claim of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The `resourceVersion` at which all this was so.
    pub version: String,
    /// The profile whose pool it belongs to.
    pub pool: String,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The volume that it is bound to. A claim whose class waits for the first pod has none yet.
    pub volume: Option<String>,
    /// Its size, as the cluster says it or else as it was asked for.
    pub size: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// What its annotations say.
    pub marks: Marks,
}

/// What the annotations of a claim say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Its lease; `None` when it is free.
    pub lease: Option<Lease>,
    /// The cache key of its present or last pod.
    pub key: Option<String>,
    /// When it was last leased or released.
    pub last_used: Option<Timestamp>,
    /// How many pods had it.
    pub leases: u64,
    /// How many of them had the key of the one before.
    pub warm_leases: u64,
    /// Which nodes its volume can be reached from.
    pub topology: Option<String>,
}

/// The state of a claim, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// A pod has it.
    Leased,
    /// No pod has it; it holds layers.
    Free,
    /// No pod ever had it.
    Blank,
    /// It is being deleted.
    Terminating,
}

impl State {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leased => "leased",
            Self::Free => "free",
            Self::Blank => "blank",
            Self::Terminating => "terminating",
        }
    }
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The uid of the admission request for which it was made.
    pub id: String,
    /// The pod, for people.
    pub pod: String,
}

impl Marks {
    /// Reads the annotations of a claim. One that somebody spoilt counts as absent, but any lease
    /// counts as a lease.
    #[must_use]
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| annotations.get(key).cloned();
        let number = |key: &str| annotations.get(key).and_then(|n| n.parse().ok());
        Self {
            lease: text(LEASE).map(|id| Lease {
                id,
                pod: text(LEASE_POD).unwrap_or_default(),
            }),
            key: text(CACHE_KEY),
            last_used: annotations.get(LAST_USED).and_then(|t| t.parse().ok()),
            leases: number(LEASES).unwrap_or_default(),
            warm_leases: number(WARM_LEASES).unwrap_or_default(),
            topology: text(TOPOLOGY),
        }
    }
}

impl Claim {
    /// The pool that it belongs to.
    #[must_use]
    pub fn pool_name(&self) -> PoolName {
        (self.namespace.clone(), self.pool.clone())
    }

    /// Its state, for people.
    #[must_use]
    pub fn state(&self) -> State {
        if self.terminating {
            State::Terminating
        } else if self.marks.lease.is_some() {
            State::Leased
        } else if self.is_blank() {
            State::Blank
        } else {
            State::Free
        }
    }

    /// Whether a pod may have it: nobody has, and it stays.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.marks.lease.is_none() && !self.terminating
    }

    /// Whether no pod ever had it.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.marks.key.is_none() && self.marks.leases == 0
    }

    /// Whether it is bound to a volume of which it is not known yet which nodes reach it.
    #[must_use]
    pub fn lacks_topology(&self) -> bool {
        self.volume.is_some() && self.marks.topology.is_none()
    }

    /// When it was last of use.
    #[must_use]
    pub fn idle_since(&self) -> Option<Timestamp> {
        self.marks.last_used.or(self.created)
    }

    /// The merge patch that leases it to a pod with the cache key `key`. It fails when the claim is
    /// no longer what this says.
    #[must_use]
    pub fn lease_patch(&self, lease: &Lease, key: &str, now: Timestamp) -> Value {
        let warm = u64::from(self.serves(key));
        self.patch(&json!({
            LEASE: lease.id,
            LEASE_POD: lease.pod,
            CACHE_KEY: key,
            LAST_USED: seconds(now),
            LEASES: (self.marks.leases.saturating_add(1)).to_string(),
            WARM_LEASES: (self.marks.warm_leases.saturating_add(warm)).to_string(),
        }))
    }

    /// The merge patch that ends its lease. It fails when the claim is no longer what this says.
    #[must_use]
    pub fn release_patch(&self, now: Timestamp) -> Value {
        self.patch(&json!({LEASE: null, LEASE_POD: null, LAST_USED: seconds(now)}))
    }

    /// The merge patch that says which nodes reach its volume.
    #[must_use]
    pub fn topology_patch(&self, terms: &str) -> Value {
        self.patch(&json!({ TOPOLOGY: terms }))
    }

    /// Whether its layers are those of the cache key.
    #[must_use]
    pub fn serves(&self, key: &str) -> bool {
        self.marks.key.as_deref() == Some(key)
    }

    fn patch(&self, annotations: &Value) -> Value {
        json!({"metadata": {
            "uid": self.uid, "resourceVersion": self.version, "annotations": annotations
        }})
    }
}

/// RFC 3339, in whole seconds.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(annotations: &Value) -> Claim {
        let annotations = serde_json::from_value(annotations.clone()).unwrap();
        Claim {
            namespace: "ci".to_owned(),
            name: "slipway-fast-0".to_owned(),
            uid: "u".to_owned(),
            version: "7".to_owned(),
            pool: "fast".to_owned(),
            terminating: false,
            volume: None,
            size: None,
            created: None,
            marks: Marks::read(&annotations),
        }
    }

    /// The claim after a patch, as the API server would merge it.
    fn patched(claim: &Claim, patch: &Value) -> Claim {
        let mut merged = json!({"metadata": {"annotations": {LEASES: claim.marks.leases.to_string(),
            WARM_LEASES: claim.marks.warm_leases.to_string(), CACHE_KEY: claim.marks.key}}});
        json_patch::merge(&mut merged, patch);
        self::claim(&merged["metadata"]["annotations"])
    }

    #[test]
    fn a_lease_is_read_back_as_it_was_written_and_counts_what_was_warm() {
        let now: Timestamp = "2026-01-02T03:04:05.6Z".parse().unwrap();
        let lease = Lease {
            id: "r1".to_owned(),
            pod: "runner-*".to_owned(),
        };
        let blank = claim(&json!({}));
        assert!(blank.is_free() && blank.is_blank());
        let leased = patched(&blank, &blank.lease_patch(&lease, "set", now));
        assert_eq!(leased.marks.lease, Some(lease.clone()));
        assert_eq!((leased.marks.leases, leased.marks.warm_leases), (1, 0));
        let whole: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(leased.marks.last_used, Some(whole));

        let released = patched(&leased, &leased.release_patch(now));
        assert!(released.is_free() && !released.is_blank());
        let again = patched(&released, &released.lease_patch(&lease, "set", now));
        assert_eq!((again.marks.leases, again.marks.warm_leases), (2, 1));
    }

    #[test]
    fn every_patch_names_the_version_that_it_was_decided_on() {
        let claim = claim(&json!({}));
        let now = Timestamp::UNIX_EPOCH;
        let lease = Lease {
            id: "r1".to_owned(),
            pod: String::new(),
        };
        for patch in [
            claim.lease_patch(&lease, "set", now),
            claim.release_patch(now),
            claim.topology_patch("[]"),
        ] {
            assert_eq!(patch["metadata"]["resourceVersion"], "7");
            assert_eq!(patch["metadata"]["uid"], "u");
        }
    }

    #[test]
    fn a_lease_that_somebody_spoilt_is_a_lease_all_the_same() {
        let spoilt = claim(&json!({LEASE: "", LAST_USED: "yesterday", LEASES: "-1"}));
        assert!(!spoilt.is_free());
        assert_eq!(spoilt.marks.last_used, None);
    }
}
