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

/// The lease that a pod's label names, for one claim that the pod mounts. The label alone says nothing:
/// anyone can put any label on pods in their own namespace, and can repeat a lease in a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodLease {
    /// The pod's namespace.
    pub namespace: String,
    /// The claim's name.
    pub claim: String,
    /// The lease's id.
    pub lease: String,
}

/// What one leader has seen of each lease. A new leader starts empty, so it waits a little longer.
#[derive(Debug, Default)]
pub struct Sightings {
    all: HashMap<ClaimLease, Sighting>,
    /// Whether the first look is over: leases that were there before may have been used unseen.
    has_looked: bool,
}

/// A claim whose lease may be over.
#[derive(Debug, Clone)]
pub struct Suspect {
    /// The claim.
    pub claim: Arc<Claim>,
    /// Whether a pod used the lease; `None` if this leader was not there from its start.
    pub used: Option<bool>,
}

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
    /// Whether this leader has seen the claim without the lease before.
    is_whole: bool,
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
    ) -> Vec<Suspect> {
        let mut sightings = HashMap::new();
        let mut suspects = Vec::new();
        for claim in claims.iter() {
            let Some(lease) = &claim.annotations.lease else {
                continue;
            };
            let of_pod = PodLease {
                namespace: claim.namespace.clone(),
                claim: claim.name.clone(),
                lease: lease.id.clone(),
            };
            let of_claim = ClaimLease {
                claim_uid: claim.uid.clone(),
                lease: lease.id.clone(),
            };
            let mut sighting = self.all.remove(&of_claim).unwrap_or(Sighting {
                since: now,
                appeared: false,
                is_whole: self.has_looked,
            });
            sighting.appeared |= seen.contains(&of_pod);
            let waited = now.saturating_sub(sighting.since);
            let settled = sighting.appeared || waited >= appearance_timeout;
            if settled && !live.contains(&of_pod) {
                let is_known = sighting.appeared || sighting.is_whole;
                suspects.push(Suspect {
                    claim: Arc::clone(claim),
                    used: is_known.then_some(sighting.appeared),
                });
            }
            sightings.insert(of_claim, sighting);
        }
        self.all = sightings;
        self.has_looked = true;
        suspects
    }
}

/// Returns whether the lease of a suspect is over: no live pod of its namespace holds it. `listed` are
/// those pods, from a list that was requested after the claim became a suspect.
#[must_use]
pub fn is_over(claim: &Claim, listed: &[Holder]) -> bool {
    !listed.iter().any(|pod| holds(pod, claim))
}

/// Returns whether a pod holds a claim of its namespace: one of its volumes uses the claim. Volumes never
/// change, so a pod that only names the lease can never use the claim.
#[must_use]
pub fn holds(pod: &Holder, claim: &Claim) -> bool {
    pod.claims.contains(&claim.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::claims::fixtures::leased;

    const TIMEOUT: Duration = Duration::from_secs(75);

    /// Returns the names of the suspects after `seconds`, and whether their leases were used. `pods`
    /// are live, each with its lease and the claim that it mounts.
    fn suspects(
        seen: &mut Sightings,
        claims: &Claims,
        pods: &[(&str, &str)],
        seconds: u64,
    ) -> Vec<(String, Option<bool>)> {
        let of_ci = |(lease, claim): &(&str, &str)| PodLease {
            namespace: "ci".to_owned(),
            claim: (*claim).to_owned(),
            lease: (*lease).to_owned(),
        };
        let pods: HashSet<PodLease> = pods.iter().map(of_ci).collect();
        let now = Duration::from_secs(seconds);
        let suspects = seen.suspects(claims, &pods, &pods, now, TIMEOUT);
        suspects
            .into_iter()
            .map(|suspect| (suspect.claim.name.clone(), suspect.used))
            .collect()
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
        assert!(suspects(&mut ends, &claims, &[("r1", "a")], 0).is_empty());
        let over = suspects(&mut ends, &claims, &[], 10);
        assert_eq!(
            over,
            [("a".to_owned(), Some(true))],
            "`b` may be mounted yet"
        );
        assert_eq!(suspects(&mut ends, &claims, &[], 75).len(), 2);
    }

    #[test]
    fn a_claim_that_is_leased_in_the_name_of_a_live_pod_is_not_held_by_it() {
        let claims = Claims::new([leased("a", "r1"), leased("forged", "r1")]);
        let mut sightings = Sightings::default();
        assert!(suspects(&mut sightings, &claims, &[("r1", "a")], 0).is_empty());
        let over = suspects(&mut sightings, &claims, &[("r1", "a")], 75);
        assert_eq!(over.len(), 1);
        assert_eq!(over[0].0, "forged");
        let pod = Holder {
            lease: Some("r1".to_owned()),
            claims: vec!["a".to_owned()],
        };
        assert!(is_over(&leased("forged", "r1"), std::slice::from_ref(&pod)));
        assert!(!is_over(&leased("a", "r1"), &[pod]));
    }

    #[test]
    fn a_lease_counts_as_unused_only_if_it_was_seen_from_its_start() {
        let mut sightings = Sightings::default();
        let old = Claims::new([leased("a", "r1")]);
        assert!(suspects(&mut sightings, &old, &[], 0).is_empty());
        let both = Claims::new([leased("a", "r1"), leased("b", "r2")]);
        assert_eq!(
            suspects(&mut sightings, &both, &[], 75),
            [("a".to_owned(), None)]
        );
        let later = suspects(&mut sightings, &both, &[], 150);
        assert!(later.contains(&("b".to_owned(), Some(false))), "{later:?}");
    }
}
