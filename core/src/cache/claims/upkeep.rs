//! When claims are made and deleted.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::Claim;
use crate::policy::Pool;

/// A claim of another key makes room for a blank one only after so long without use.
const GIVES_WAY_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// The claims of a pool that the policy no longer has are kept for so long: a policy may be wrong
/// for an hour.
const ORPHANED_FOR: SignedDuration = SignedDuration::from_hours(24);

/// What is to be done to a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A claim of this name is to be made.
    Create(String),
    /// This one is to be deleted, if it is still free.
    Delete(Arc<Claim>),
}

/// What is to be done to one pool. `settings` are `None` when the policy has no such pool (any
/// more); `taken` are names that others have.
#[must_use]
pub fn upkeep(
    pool: &str,
    settings: Option<&Pool>,
    claims: &[Arc<Claim>],
    taken: &BTreeSet<String>,
    now: Timestamp,
) -> Vec<Step> {
    let idle = |claim: &Claim| claim.idle_since().map(|since| now.duration_since(since));
    let idle_for = |claim: &Claim, limit| idle(claim).is_some_and(|time| time >= limit);
    let mut free: Vec<&Arc<Claim>> = claims.iter().filter(|claim| claim.is_free()).collect();
    free.sort_by_key(|claim| claim.idle_since());
    let Some(settings) = settings else {
        let orphans = free.into_iter().filter(|c| idle_for(c, ORPHANED_FOR));
        return orphans.cloned().map(Step::Delete).collect();
    };

    let (size, min_free) = (settings.claims.into(), settings.min_free.into());
    let mut steps = Vec::new();
    let mut count = claims.len();
    let ready = |claim: &Claim| !settings.strict_keys || claim.is_blank();
    let mut ready_count = free.iter().filter(|claim| ready(claim)).count();
    let expiry = settings.expire_after_hours.map(i64::from);
    for claim in free {
        let is_ready = ready(claim);
        let spare = !is_ready || ready_count > min_free;
        let expired = expiry.is_some_and(|h| idle_for(claim, SignedDuration::from_hours(h)));
        let in_the_way = ready_count < min_free && count >= size && !is_ready;
        let goes =
            count > size || (expired && spare) || (in_the_way && idle_for(claim, GIVES_WAY_AFTER));
        if goes {
            steps.push(Step::Delete(Arc::clone(claim)));
            count -= 1;
            ready_count -= usize::from(is_ready);
        }
    }
    // A claim that goes keeps its name, and its place, until it is gone.
    let room = size.saturating_sub(claims.len());
    let missing = min_free.saturating_sub(ready_count).min(room);
    let used = |name: &String| taken.contains(name) || claims.iter().any(|c| c.name == *name);
    let names = (0_u32..).map(|n| format!("slipway-{pool}-{n}"));
    steps.extend(
        names
            .filter(|name| !used(name))
            .take(missing)
            .map(Step::Create),
    );
    steps
}
