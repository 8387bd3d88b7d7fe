//! Decides which clients may lease claims.
//!
//! Anyone who reaches the webhook's port can send a review of a pod that does not exist. Its lease ends
//! because the pod never appears, but the next review leases the claim again. So each claim remembers
//! which address asked for its last lease, and whether a pod used it.

use std::{net::IpAddr, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::Claim;

/// How long an address gets no claim of a pool after one that it did not use.
const SUSPENSION: SignedDuration = SignedDuration::from_mins(5);

/// Returns whether an address may lease claims of this pool: no lease of its went unused in the last five
/// minutes, or one was used. An API server whose pods are rejected after admission has used others.
#[must_use]
pub fn may_lease<'c>(
    from: IpAddr,
    pool: impl Iterator<Item = &'c Arc<Claim>>,
    now: Timestamp,
) -> bool {
    let mut has_wasted = false;
    for claim in pool {
        let last = &claim.annotations;
        if last.lease_from != Some(from) {
            continue;
        }
        match last.lease_used {
            Some(true) => return true,
            Some(false) => {
                let ended = last.last_used.map(|at| now.duration_since(at));
                has_wasted |= ended.is_some_and(|ended| ended.abs() < SUSPENSION);
            }
            None => {}
        }
    }
    !has_wasted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::claims::fixtures::claim;

    const STRANGER: [u8; 4] = [10, 0, 0, 66];
    const API_SERVER: [u8; 4] = [10, 0, 0, 1];

    /// Returns a claim whose last lease was asked for by this address, and ended after `seconds`.
    fn last(from: [u8; 4], used: Option<bool>, seconds: i64) -> Arc<Claim> {
        let mut claim = claim(&format!("{from:?}-{used:?}-{seconds}"));
        claim.annotations.lease_from = Some(from.into());
        claim.annotations.lease_used = used;
        claim.annotations.last_used = Timestamp::from_second(seconds).ok();
        claim.into()
    }

    fn may(from: [u8; 4], pool: &[Arc<Claim>], seconds: i64) -> bool {
        let now = Timestamp::from_second(seconds).unwrap();
        may_lease(from.into(), pool.iter(), now)
    }

    #[test]
    fn an_address_that_wasted_a_lease_waits_five_minutes_and_others_do_not() {
        let pool = [
            last(STRANGER, Some(false), 1_000),
            last(API_SERVER, None, 0),
        ];
        assert!(!may(STRANGER, &pool, 1_000));
        assert!(!may(STRANGER, &pool, 1_299));
        assert!(may(STRANGER, &pool, 1_300));
        assert!(may(API_SERVER, &pool, 1_000));
        assert!(may(STRANGER, &[], 0));
    }

    #[test]
    fn an_address_whose_pods_are_real_is_never_suspended() {
        let pool = [
            last(API_SERVER, Some(false), 1_000),
            last(API_SERVER, Some(true), 10),
        ];
        assert!(may(API_SERVER, &pool, 1_000));
    }

    #[test]
    fn a_clock_that_is_hours_off_suspends_nobody() {
        let pool = [last(STRANGER, Some(false), 100_000)];
        assert!(may(STRANGER, &pool, 1_000));
    }
}
