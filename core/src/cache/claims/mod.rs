//! Claim pools: the PersistentVolumeClaims of one namespace and profile, each leased to one pod at a
//! time.
//!
//! All state lives in the labels and annotations of the claims. Every write names the
//! `resourceVersion` that it was decided on, so that one of two competing writers fails; no clock is
//! involved. This keeps the promise that no claim is ever used by two live pods:
//!
//! - A claim may be leased only while it has no lease ([`choose`]), and not to a client that has wasted
//!   leases ([`clients`]).
//! - A lease ends only after a fresh list of the namespace's pods shows no live pod that holds it.
//!   That list is requested after the lease's pod was seen, or can no longer appear ([`expire`]).
//! - A claim may be deleted only while it has no lease ([`upkeep`]).

pub mod choose;
pub mod claim;
pub mod clients;
pub mod expire;
#[cfg(test)]
mod fixtures;
pub mod upkeep;

use std::{collections::BTreeMap, sync::Arc};

pub use claim::{Claim, Lease};

use crate::reason::Reason;

/// Label of a claim: the profile whose pool it belongs to.
pub const POOL: &str = "slipway.io/pool";
/// Label of a pod and annotation of a claim: the lease. Its value is the uid of the admission
/// request, because a pod under admission has no uid yet and often no name.
pub const LEASE: &str = "slipway.io/lease";

/// The identity of a claim pool: each namespace that uses a profile has its own pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimPoolKey {
    /// The namespace of the claims and of their pods.
    pub namespace: String,
    /// The profile that configures the pool.
    pub profile: String,
}

impl ClaimPoolKey {
    /// Names the pool of a profile in a namespace.
    #[must_use]
    pub fn new(namespace: &str, profile: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            profile: profile.to_owned(),
        }
    }
}

/// The claims of all pools. Clones share unchanged pools.
#[derive(Debug, Clone, Default)]
pub struct Claims(BTreeMap<ClaimPoolKey, Arc<BTreeMap<String, Arc<Claim>>>>);

impl Claims {
    /// Collects claims into their pools.
    #[must_use]
    pub fn new(claims: impl IntoIterator<Item = Claim>) -> Self {
        let mut all = Self::default();
        for claim in claims {
            all.apply(claim);
        }
        all
    }

    /// Adds a claim, or replaces an earlier version of it.
    pub fn apply(&mut self, claim: Claim) {
        let pool = self.0.entry(claim.pool_key()).or_default();
        Arc::make_mut(pool).insert(claim.name.clone(), Arc::new(claim));
    }

    /// Adds the result of a write that was based on the version `before`. If the watch has already
    /// delivered another version, the result is ignored.
    pub fn apply_write(&mut self, before: &str, claim: Claim) {
        let known = self.0.get(&claim.pool_key());
        let known = known.and_then(|pool| pool.get(&claim.name));
        if known.is_some_and(|known| known.version == before) {
            self.apply(claim);
        }
    }

    /// Removes a claim.
    pub fn remove(&mut self, claim: &Claim) {
        let key = claim.pool_key();
        if let Some(pool) = self.0.get_mut(&key) {
            Arc::make_mut(pool).remove(&claim.name);
            if pool.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    /// Returns the claims of one pool, sorted by name.
    pub fn of_pool(&self, pool: &ClaimPoolKey) -> impl Iterator<Item = &Arc<Claim>> + use<'_> {
        self.0.get(pool).into_iter().flat_map(|pool| pool.values())
    }

    /// Returns the claims of all pools.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Claim>> {
        self.0.values().flat_map(|pool| pool.values())
    }

    /// Returns the pools that have claims.
    pub fn pools(&self) -> impl Iterator<Item = &ClaimPoolKey> {
        self.0.keys()
    }
}

/// A request for a claim: the lease to write, and the claims to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// The pod's namespace.
    pub namespace: String,
    /// The lease to write.
    pub lease: Lease,
    /// The pod's cache key.
    pub key: String,
    /// The claims that the pod may lease, best first; `None` while the claims are not known yet.
    pub candidates: Option<Vec<Arc<Claim>>>,
}

/// The result of a [`ClaimRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseResult {
    /// The pod holds a claim.
    Leased {
        /// The claim's name.
        claim: String,
        /// The lease's id.
        lease: String,
        /// Whether the claim's previous pod had the same cache key.
        warm: bool,
    },
    /// The pod gets the fallback volume, for this reason.
    Refused(Reason),
}

/// Returns whether a request's uid is a valid label value. An API server's always is.
#[must_use]
pub fn is_lease_id(uid: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=63).contains(&uid.len())
        && uid.chars().all(inner)
        && !uid.starts_with('-')
        && !uid.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(version: &str) -> Claim {
        Claim {
            version: version.to_owned(),
            ..fixtures::claim("slipway-fast-0")
        }
    }

    #[test]
    fn a_write_that_the_watch_has_overtaken_is_ignored() {
        let version = |claims: &Claims| claims.iter().next().map(|claim| claim.version.clone());
        let mut claims = Claims::new([claim("1")]);
        claims.apply_write("1", claim("2"));
        assert_eq!(version(&claims).as_deref(), Some("2"));
        // The watch has shown that write and the next one.
        claims.apply(claim("4"));
        claims.apply_write("2", claim("3"));
        assert_eq!(version(&claims).as_deref(), Some("4"));
        claims.remove(&claim("4"));
        claims.apply_write("4", claim("5"));
        assert_eq!(version(&claims), None);
    }
}
