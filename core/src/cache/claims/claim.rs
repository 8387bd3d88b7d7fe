//! One claim of a pool, and the patches that change it.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{ClaimPoolKey, LEASE};

/// Annotation of a leased claim: the pod's name, for display only.
const LEASE_POD: &str = "slipway.io/lease-pod";
/// Annotation of a claim: the cache key of its current or previous pod.
const CACHE_KEY: &str = "slipway.io/cache-key";
/// Annotation of a claim: when it was last leased or released, in RFC 3339. A wrong clock does no
/// harm: the time only ranks claims and expires idle ones.
const LAST_USED: &str = "slipway.io/last-used";
/// Annotation of a claim: the address that asked for its current or last lease.
const LEASE_FROM: &str = "slipway.io/lease-from";
/// Annotation of a free claim: `true` if a pod used its last lease, `false` if none ever appeared.
const LEASE_USED: &str = "slipway.io/lease-used";
/// Annotation of a claim: how many pods have leased it.
const LEASES: &str = "slipway.io/leases";
/// Annotation of a claim: how many of those pods found layers of their own cache key.
const WARM_LEASES: &str = "slipway.io/warm-leases";
/// Annotation of a bound claim: the node selector terms of its volume, as JSON; `[]` if every node
/// can reach the volume.
pub const TOPOLOGY: &str = "slipway.io/topology";

/// A PersistentVolumeClaim of a claim pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The `resourceVersion` at which it was read.
    pub version: String,
    /// The profile whose pool it belongs to.
    pub profile: String,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The volume that it is bound to; `None` while its storage class waits for the first pod.
    pub volume: Option<String>,
    /// Its actual size, or the requested one until it is bound.
    pub size: Option<String>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Slipway's annotations on it.
    pub annotations: Annotations,
}

/// Slipway's annotations on a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    /// The lease; `None` when the claim is free.
    pub lease: Option<Lease>,
    /// The cache key of its current or previous pod.
    pub key: Option<String>,
    /// When it was last leased or released.
    pub last_used: Option<Timestamp>,
    /// The address that asked for the current or last lease.
    pub lease_from: Option<IpAddr>,
    /// Whether a pod used the last lease, if that is known.
    pub lease_used: Option<bool>,
    /// How many pods have leased it.
    pub leases: u64,
    /// How many of those pods had the key of the pod before them.
    pub warm_leases: u64,
    /// The nodes that can reach its volume, as node selector terms.
    pub topology: Option<String>,
}

/// The state of a claim, for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimState {
    /// A pod holds it.
    Leased,
    /// No pod holds it, and it has layers.
    Free,
    /// No pod has ever held it.
    Blank,
    /// It is being deleted.
    Terminating,
}

impl ClaimState {
    /// Returns its name.
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

/// A lease of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The uid of the admission request that it was written for.
    pub id: String,
    /// The pod's name, or its `generateName` with a star; for display only.
    pub pod: String,
}

impl Annotations {
    /// Reads the annotations of a claim. Unreadable ones count as absent, but any lease counts.
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
            lease_from: annotations.get(LEASE_FROM).and_then(|a| a.parse().ok()),
            lease_used: annotations.get(LEASE_USED).and_then(|u| u.parse().ok()),
            last_used: annotations.get(LAST_USED).and_then(|t| t.parse().ok()),
            leases: number(LEASES).unwrap_or_default(),
            warm_leases: number(WARM_LEASES).unwrap_or_default(),
            topology: text(TOPOLOGY),
        }
    }
}

impl Claim {
    /// Returns the pool that it belongs to.
    #[must_use]
    pub fn pool_key(&self) -> ClaimPoolKey {
        ClaimPoolKey::new(&self.namespace, &self.profile)
    }

    /// Returns its state, for display.
    #[must_use]
    pub fn state(&self) -> ClaimState {
        if self.terminating {
            ClaimState::Terminating
        } else if self.annotations.lease.is_some() {
            ClaimState::Leased
        } else if self.is_blank() {
            ClaimState::Blank
        } else {
            ClaimState::Free
        }
    }

    /// Returns whether a pod may lease it: it has no lease and is not being deleted.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.annotations.lease.is_none() && !self.terminating
    }

    /// Returns whether no pod has ever held it.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.annotations.key.is_none() && self.annotations.leases == 0
    }

    /// Returns whether it is bound to a volume whose topology is not recorded yet.
    #[must_use]
    pub fn lacks_topology(&self) -> bool {
        self.volume.is_some() && self.annotations.topology.is_none()
    }

    /// Returns when it was last used, or created if it never was.
    #[must_use]
    pub fn idle_since(&self) -> Option<Timestamp> {
        self.annotations.last_used.or(self.created)
    }

    /// Returns the merge patch that leases it to a pod with the cache key `key`, as the client at `from`
    /// asks. The API server rejects the patch if the claim has changed since it was read.
    #[must_use]
    pub fn lease_patch(&self, lease: &Lease, key: &str, from: IpAddr, now: Timestamp) -> Value {
        let warm = u64::from(self.serves(key));
        self.patch(&json!({
            LEASE: lease.id,
            LEASE_POD: lease.pod,
            LEASE_FROM: from,
            LEASE_USED: null,
            CACHE_KEY: key,
            LAST_USED: seconds(now),
            LEASES: (self.annotations.leases.saturating_add(1)).to_string(),
            WARM_LEASES: (self.annotations.warm_leases.saturating_add(warm)).to_string(),
        }))
    }

    /// Returns the merge patch that ends its lease. `used` tells whether a pod used it, if that is known.
    /// The API server rejects the patch if the claim has changed since it was read.
    #[must_use]
    pub fn release_patch(&self, used: Option<bool>, now: Timestamp) -> Value {
        self.patch(&json!({
            LEASE: null,
            LEASE_POD: null,
            LEASE_USED: used.map(|used| used.to_string()),
            LAST_USED: seconds(now),
        }))
    }

    /// Returns the merge patch that records which nodes can reach its volume.
    #[must_use]
    pub fn topology_patch(&self, terms: &str) -> Value {
        self.patch(&json!({ TOPOLOGY: terms }))
    }

    /// Returns whether its layers belong to the cache key.
    #[must_use]
    pub fn serves(&self, key: &str) -> bool {
        self.annotations.key.as_deref() == Some(key)
    }

    fn patch(&self, annotations: &Value) -> Value {
        json!({"metadata": {
            "uid": self.uid, "resourceVersion": self.version, "annotations": annotations
        }})
    }
}

/// Formats a time as RFC 3339 in whole seconds.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::claims::fixtures;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    fn claim(annotations: &Value) -> Claim {
        let annotations = serde_json::from_value(annotations.clone()).unwrap();
        Claim {
            annotations: Annotations::read(&annotations),
            ..fixtures::claim("slipway-fast-0")
        }
    }

    /// Returns the claim after a patch, merged as the API server would.
    fn patched(claim: &Claim, patch: &Value) -> Claim {
        let mut merged = json!({"metadata": {"annotations": {LEASES: claim.annotations.leases.to_string(),
            WARM_LEASES: claim.annotations.warm_leases.to_string(), CACHE_KEY: claim.annotations.key}}});
        json_patch::merge(&mut merged, patch);
        self::claim(&merged["metadata"]["annotations"])
    }

    #[test]
    fn a_lease_is_read_back_as_written_and_warm_leases_are_counted() {
        let now: Timestamp = "2026-01-02T03:04:05.6Z".parse().unwrap();
        let lease = Lease {
            id: "r1".to_owned(),
            pod: "runner-*".to_owned(),
        };
        let blank = claim(&json!({}));
        assert!(blank.is_free() && blank.is_blank());
        let leased = patched(&blank, &blank.lease_patch(&lease, "set", FROM, now));
        assert_eq!(leased.annotations.lease, Some(lease.clone()));
        assert_eq!(leased.annotations.lease_from, Some(FROM));
        assert_eq!(
            (leased.annotations.leases, leased.annotations.warm_leases),
            (1, 0)
        );
        let whole: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(leased.annotations.last_used, Some(whole));

        let released = patched(&leased, &leased.release_patch(Some(true), now));
        assert!(released.is_free() && !released.is_blank());
        assert_eq!(released.annotations.lease_used, Some(true));
        let again = patched(&released, &released.lease_patch(&lease, "set", FROM, now));
        assert_eq!(
            (again.annotations.leases, again.annotations.warm_leases),
            (2, 1)
        );
    }

    #[test]
    fn every_patch_names_the_version_that_it_is_based_on() {
        let claim = claim(&json!({}));
        let now = Timestamp::UNIX_EPOCH;
        let lease = Lease {
            id: "r1".to_owned(),
            pod: String::new(),
        };
        for patch in [
            claim.lease_patch(&lease, "set", FROM, now),
            claim.release_patch(None, now),
            claim.topology_patch("[]"),
        ] {
            assert_eq!(patch["metadata"]["resourceVersion"], claim.version);
            assert_eq!(patch["metadata"]["uid"], claim.uid);
        }
    }

    #[test]
    fn an_unreadable_lease_still_counts_as_a_lease() {
        let unreadable = claim(&json!({LEASE: "", LAST_USED: "yesterday", LEASES: "-1"}));
        assert!(!unreadable.is_free());
        assert_eq!(unreadable.annotations.last_used, None);
    }
}
