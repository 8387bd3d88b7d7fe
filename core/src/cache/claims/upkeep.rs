//! Decides which claims of a pool are created and deleted.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::Claim;
use crate::policy::ClaimPool;

/// The time for which a claim must be idle before it is deleted to make room for a blank one.
const MAKES_ROOM_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// The time for which a claim without a pool must be idle before it is deleted: the policy may be
/// wrong for an hour.
const ORPHANS_KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// One change to the claims of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpkeepAction {
    /// Create a claim with this name.
    Create(String),
    /// Delete this claim, if it is still free.
    Delete(Arc<Claim>),
}

/// Returns the changes that a pool needs. `settings` is `None` if the policy has no such pool. `taken`
/// are the names of claims that do not belong to Slipway.
#[must_use]
pub fn plan_upkeep(
    profile: &str,
    settings: Option<&ClaimPool>,
    claims: &[Arc<Claim>],
    taken: &BTreeSet<String>,
    now: Timestamp,
) -> Vec<UpkeepAction> {
    let mut free: Vec<&Arc<Claim>> = claims.iter().filter(|claim| claim.is_free()).collect();
    free.sort_by_key(|claim| claim.idle_since());
    let is_idle_for = |claim: &Claim, limit| {
        let idle = claim.idle_since().map(|since| now.duration_since(since));
        idle.is_some_and(|idle| idle >= limit)
    };
    let Some(settings) = settings else {
        let orphans = free
            .into_iter()
            .filter(|claim| is_idle_for(claim, ORPHANS_KEPT_FOR));
        return orphans.cloned().map(UpkeepAction::Delete).collect();
    };

    let (size, min_free) = (settings.claims.into(), settings.min_free.into());
    let expiry = settings.expire_after_hours.map(i64::from);
    // A ready claim can be leased with any cache key.
    let is_ready = |claim: &Claim| !settings.strict_keys || claim.is_blank();
    let mut actions = Vec::new();
    let mut count = claims.len();
    let mut ready = free.iter().filter(|claim| is_ready(claim)).count();
    for claim in free {
        let claim_is_ready = is_ready(claim);
        let is_spare = !claim_is_ready || ready > min_free;
        let is_expired =
            expiry.is_some_and(|hours| is_idle_for(claim, SignedDuration::from_hours(hours)));
        let takes_room = ready < min_free && count >= size && !claim_is_ready;
        let delete = count > size
            || (is_expired && is_spare)
            || (takes_room && is_idle_for(claim, MAKES_ROOM_AFTER));
        if delete {
            actions.push(UpkeepAction::Delete(Arc::clone(claim)));
            count -= 1;
            ready -= usize::from(claim_is_ready);
        }
    }
    // A claim counts towards the size and keeps its name until its deletion is complete.
    let room = size.saturating_sub(claims.len());
    let missing = min_free.saturating_sub(ready).min(room);
    let is_used = |name: &String| taken.contains(name) || claims.iter().any(|c| c.name == *name);
    let names = (0_u32..)
        .map(|number| format!("slipway-{profile}-{number}"))
        .filter(|name| !is_used(name));
    actions.extend(names.take(missing).map(UpkeepAction::Create));
    actions
}
