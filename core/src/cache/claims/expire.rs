//! Decides when a lease is over.
//!
//! A pod gets its lease during admission, so at first the claim is leased but no list contains the
//! pod. Then either the pod is seen, or the API server must have given up on the request. Only a list
//! of pods that is requested after that proves that no pod holds the lease: a watch may lag behind.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{Claim, Claims};

/// The time in which a pod appears after its lease was written, if ever. The API server gives up on
/// a request after 60 s (`--request-timeout`), and a database write that began before then may finish
/// a little later. The rest allows for clocks that run fast.
pub const APPEARANCE_TIMEOUT: Duration = Duration::from_secs(75);

/// A live pod, as far as leases go. A pod that has ended (`Succeeded`, `Failed`) never runs again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// The lease that its label names.
    pub lease: Option<String>,
    /// The claims that its volumes name.
    pub claims: Vec<String>,
}

/// The lease that a pod's label names, with the namespace: anyone can put any label on pods in their
/// own namespace, and that must not affect claims in another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodLease {
    /// The pod's namespace.
    pub namespace: String,
    /// The lease's id.
    pub lease: String,
}

/// What one leader has seen of each lease. A new leader starts empty, so it waits a little longer.
#[derive(Debug, Default)]
pub struct Sightings(HashMap<ClaimLease, Sighting>);

/// A lease of one claim. A request that was sent twice may have leased two claims with the same lease.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ClaimLease {
    claim_uid: String,
    lease: String,
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    /// When this leader first saw the lease, on its own clock.
    since: Duration,
    /// Whether the pod of the lease has been seen.
    appeared: bool,
}

impl Sightings {
    /// Returns the claims whose leases may be over: those whose pod was seen and is no longer live,
    /// and those whose pod can no longer appear. Confirm each with a list of pods that is requested
    /// after this call, and [`is_over`].
    ///
    /// `seen` are the leases of all pods that the watch shows, `live` those of the pods that have not
    /// ended, and `now` comes from a monotonic clock.
    pub fn suspects(
        &mut self,
        claims: &Claims,
        seen: &HashSet<PodLease>,
        live: &HashSet<PodLease>,
        now: Duration,
        appearance_timeout: Duration,
    ) -> Vec<Arc<Claim>> {
        let mut sightings = HashMap::new();
        let mut suspects = Vec::new();
        for claim in claims.iter() {
            let Some(lease) = &claim.annotations.lease else {
                continue;
            };
            let of_pod = PodLease {
                namespace: claim.namespace.clone(),
                lease: lease.id.clone(),
            };
            let of_claim = ClaimLease {
                claim_uid: claim.uid.clone(),
                lease: lease.id.clone(),
            };
            let mut sighting = self.0.remove(&of_claim).unwrap_or(Sighting {
                since: now,
                appeared: false,
            });
            sighting.appeared |= seen.contains(&of_pod);
            let waited = now.saturating_sub(sighting.since);
            let settled = sighting.appeared || waited >= appearance_timeout;
            if settled && !live.contains(&of_pod) {
                suspects.push(Arc::clone(claim));
            }
            sightings.insert(of_claim, sighting);
        }
        self.0 = sightings;
        suspects
    }
}

/// Returns whether the lease of a suspect is over: no live pod of its namespace holds it. `listed` are
/// those pods, from a list that was requested after the claim became a suspect.
#[must_use]
pub fn is_over(claim: &Claim, listed: &[Holder]) -> bool {
    !listed.iter().any(|pod| holds(pod, claim))
}

/// Returns whether a pod holds a claim of its namespace: it has the lease, or one of its volumes uses
/// the claim.
#[must_use]
pub fn holds(pod: &Holder, claim: &Claim) -> bool {
    let lease = claim.annotations.lease.as_ref();
    let carries = lease.is_some_and(|lease| pod.lease.as_ref() == Some(&lease.id));
    carries || pod.claims.contains(&claim.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::claims::fixtures::leased;

    const TIMEOUT: Duration = Duration::from_secs(75);

    /// Returns the names of the suspects after `seconds`, with these live pods.
    fn suspects(seen: &mut Sightings, claims: &Claims, pods: &[&str], seconds: u64) -> Vec<String> {
        let of_ci = |lease: &&str| PodLease {
            namespace: "ci".to_owned(),
            lease: (*lease).to_owned(),
        };
        let pods: HashSet<PodLease> = pods.iter().map(of_ci).collect();
        let now = Duration::from_secs(seconds);
        let suspects = seen.suspects(claims, &pods, &pods, now, TIMEOUT);
        suspects.iter().map(|claim| claim.name.clone()).collect()
    }

    #[test]
    fn claims_that_one_request_leased_twice_are_both_released() {
        let claims = Claims::new([leased("a", "r1"), leased("b", "r1")]);
        let mut never_appears = Sightings::default();
        for (seconds, expected) in [(0, 0), (10, 0), (74, 0), (75, 2)] {
            let suspects = suspects(&mut never_appears, &claims, &[], seconds);
            assert_eq!(suspects.len(), expected, "after {seconds} s");
        }
        let mut ends = Sightings::default();
        assert!(suspects(&mut ends, &claims, &["r1"], 0).is_empty());
        assert_eq!(suspects(&mut ends, &claims, &[], 10), ["a", "b"]);
    }
}
