//! A pool of claims: PersistentVolumeClaims of one namespace and profile, each leased to one pod at
//! a time. Pure: what the claims say of themselves, which of them a pod may have, when a lease is
//! over, and when claims are made and deleted.
//!
//! All state stands in the labels and annotations of the claims. Every write names the version that
//! it was decided on, so that of two writers one fails, and no clock takes part in that. The promise
//! is that no claim is ever named by two live pods:
//!
//! - A claim without a lease may be leased, with a write that names its version.
//! - A lease ends only when a list of the namespace's pods, taken after the lease's pod was seen or
//!   could no longer appear, shows no live pod that has it ([`keeper`]).
//! - A claim is deleted only while it has no lease, again by its version ([`upkeep`]).

pub mod choose;
pub mod claim;
pub mod keeper;
pub mod upkeep;

use std::{collections::BTreeMap, sync::Arc};

pub use claim::{Claim, Lease};

use crate::reason::Reason;

/// Label of a claim: the profile whose pool it belongs to.
pub const POOL: &str = "slipway.io/pool";
/// Label of a pod, and annotation of a claim: the lease. It is the uid of the admission request,
/// because a pod that is being admitted has no uid, and often no name.
pub const LEASE: &str = "slipway.io/lease";

/// A namespace and a pool's name.
pub type PoolName = (String, String);

/// The claims of all pools; immutable. Clones share the pools that do not differ.
#[derive(Debug, Clone, Default)]
pub struct Claims(BTreeMap<PoolName, Arc<BTreeMap<String, Arc<Claim>>>>);

impl Claims {
    /// These claims.
    #[must_use]
    pub fn new(claims: impl IntoIterator<Item = Claim>) -> Self {
        let mut all = Self::default();
        for claim in claims {
            all.apply(claim);
        }
        all
    }

    /// Takes a claim as it is now.
    pub fn apply(&mut self, claim: Claim) {
        let pool = self.0.entry(claim.pool_name()).or_default();
        Arc::make_mut(pool).insert(claim.name.clone(), Arc::new(claim));
    }

    /// Takes a claim as somebody wrote it who had seen it at the version `before`. Where another
    /// version is known, the write is old news: the claim has been changed again, or is gone.
    pub fn written(&mut self, before: &str, claim: Claim) {
        let known = self.0.get(&claim.pool_name());
        let known = known.and_then(|pool| pool.get(&claim.name));
        if known.is_some_and(|known| known.version == before) {
            self.apply(claim);
        }
    }

    /// Takes a claim away.
    pub fn remove(&mut self, claim: &Claim) {
        let name = claim.pool_name();
        if let Some(pool) = self.0.get_mut(&name) {
            Arc::make_mut(pool).remove(&claim.name);
            if pool.is_empty() {
                self.0.remove(&name);
            }
        }
    }

    /// The claims of one pool, by name.
    pub fn of(&self, namespace: &str, pool: &str) -> impl Iterator<Item = &Arc<Claim>> {
        let name = (namespace.to_owned(), pool.to_owned());
        self.0.get(&name).into_iter().flat_map(|pool| pool.values())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Claim>> {
        self.0.values().flat_map(|pool| pool.values())
    }

    /// The pools that have claims.
    pub fn pools(&self) -> impl Iterator<Item = &PoolName> {
        self.0.keys()
    }
}

/// What a decision knows of pools.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pools<'c> {
    /// The claims; `None` before the first list arrived, or where there is no cluster.
    pub claims: Option<&'c Claims>,
    /// What came of asking for a claim; `None` before anybody asked.
    pub grant: Option<&'c Grant>,
}

/// What came of asking for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// The pod has this claim.
    Claim {
        /// The claim.
        name: String,
        /// The lease.
        lease: String,
        /// Whether its last pod had the same cache key.
        warm: bool,
    },
    /// It has none, and why.
    Nothing(Reason),
}

/// A pod's wish for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The pod's namespace.
    pub namespace: String,
    /// The lease that the claim would get.
    pub lease: String,
    /// The pod's name, or its `generateName` with a star.
    pub pod: String,
    /// The pod's cache key.
    pub key: String,
    /// The claims that it could have, best first; `None` when the claims are not known yet.
    pub candidates: Option<Vec<Arc<Claim>>>,
}

/// Whether a request's uid can be a label's value, which an API server's always can.
#[must_use]
pub fn is_lease(uid: &str) -> bool {
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
            namespace: "ci".to_owned(),
            name: "slipway-fast-0".to_owned(),
            uid: "u".to_owned(),
            version: version.to_owned(),
            pool: "fast".to_owned(),
            terminating: false,
            volume: None,
            size: None,
            created: None,
            marks: claim::Marks::default(),
        }
    }

    #[test]
    fn a_write_that_the_watch_has_overtaken_is_forgotten() {
        let version = |claims: &Claims| claims.iter().next().map(|claim| claim.version.clone());
        let mut claims = Claims::new([claim("1")]);
        claims.written("1", claim("2"));
        assert_eq!(version(&claims).as_deref(), Some("2"));
        // The watch told of the write, and of the next one.
        claims.apply(claim("4"));
        claims.written("2", claim("3"));
        assert_eq!(version(&claims).as_deref(), Some("4"));
        claims.remove(&claim("4"));
        claims.written("4", claim("5"));
        assert_eq!(version(&claims), None);
    }
}
