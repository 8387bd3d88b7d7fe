//! When a lease is over.
//!
//! A pod gets its lease while it is being admitted, so there is a time in which the claim is leased
//! and the pod is in no list. It ends when the pod is seen, or when the API server must have given
//! the request up. Only a list of pods that was asked for after that can prove that no pod has the
//! lease; what a watch shows may be old.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{Claim, Claims};

/// How long after its lease a pod may still appear: the API server gives a request up after 60 s
/// (`--request-timeout`), and a write of its database that began before may end a little later. The
/// rest is for clocks that run fast.
pub const APPEARANCE: Duration = Duration::from_secs(75);

/// A live pod, as far as leases go. A pod that has ended (`Succeeded`, `Failed`) never runs again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// The lease of its label.
    pub lease: Option<String>,
    /// The claims that its volumes name.
    pub claims: Vec<String>,
}

/// A lease, with the namespace of the pod whose label says it. Anybody may write any label on a pod of
/// his own namespace: it says nothing of the claims of another.
pub type SeenLease = (String, String);

/// What one leader knows of leases. It begins with nothing, and then takes a little longer.
#[derive(Debug, Default)]
pub struct Keeper {
    /// By the claim's uid and the lease: a request that was sent twice has leased two claims with one
    /// lease, for one pod.
    sightings: HashMap<(String, String), Sighting>,
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    /// When this leader first saw the lease, on its own clock.
    since: Duration,
    /// Whether its pod was seen.
    appeared: bool,
}

impl Keeper {
    /// Looks at the claims. `seen` are the leases of all pods that a watch shows, `live` those of
    /// the pods among them that have not ended, and `now` the time on a clock that never goes back.
    ///
    /// Returns claims whose leases may be over: those with a pod that was seen and is no longer
    /// live, and those whose pod can no longer appear. Whether they are over, a list must tell that
    /// is asked for after this: [`Self::is_over`].
    pub fn suspects(
        &mut self,
        claims: &Claims,
        seen: &HashSet<SeenLease>,
        live: &HashSet<SeenLease>,
        now: Duration,
        appearance: Duration,
    ) -> Vec<Arc<Claim>> {
        let mut sightings = HashMap::new();
        let mut suspects = Vec::new();
        for claim in claims.iter() {
            let Some(lease) = &claim.marks.lease else {
                continue;
            };
            let of_namespace = (claim.namespace.clone(), lease.id.clone());
            let of_claim = (claim.uid.clone(), lease.id.clone());
            let known = self.sightings.remove(&of_claim);
            let mut sighting = known.unwrap_or(Sighting {
                since: now,
                appeared: false,
            });
            sighting.appeared |= seen.contains(&of_namespace);
            let settled = sighting.appeared || now.saturating_sub(sighting.since) >= appearance;
            if settled && !live.contains(&of_namespace) {
                suspects.push(Arc::clone(claim));
            }
            sightings.insert(of_claim, sighting);
        }
        self.sightings = sightings;
        suspects
    }

    /// Whether a suspect's lease is over, by a complete list of its namespace's live pods that was
    /// asked for after it became a suspect: none has the lease, and none names the claim.
    #[must_use]
    pub fn is_over(claim: &Claim, listed: &[Holder]) -> bool {
        let lease = claim.marks.lease.as_ref().map(|lease| lease.id.as_str());
        !listed.iter().any(|pod| {
            (lease.is_some() && pod.lease.as_deref() == lease) || pod.claims.contains(&claim.name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::claims::{Lease, claim::Marks};

    const APPEAR: Duration = Duration::from_secs(75);

    fn leased(name: &str, lease: &str) -> Claim {
        let lease = Some(Lease {
            id: lease.to_owned(),
            pod: String::new(),
        });
        Claim {
            namespace: "ci".to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
            version: "1".to_owned(),
            pool: "fast".to_owned(),
            terminating: false,
            volume: None,
            size: None,
            created: None,
            marks: Marks {
                lease,
                ..Marks::default()
            },
        }
    }

    fn names(keeper: &mut Keeper, claims: &Claims, pods: &[&str], seconds: u64) -> Vec<String> {
        let of_ci = |pod: &&str| ("ci".to_owned(), (*pod).to_owned());
        let pods: HashSet<SeenLease> = pods.iter().map(of_ci).collect();
        let now = Duration::from_secs(seconds);
        let suspects = keeper.suspects(claims, &pods, &pods, now, APPEAR);
        suspects.iter().map(|claim| claim.name.clone()).collect()
    }

    #[test]
    fn claims_that_one_request_leased_twice_are_both_given_back() {
        let claims = Claims::new([leased("a", "r1"), leased("b", "r1")]);
        let mut never = Keeper::default();
        for (seconds, expected) in [(0, 0), (10, 0), (74, 0), (75, 2)] {
            let suspects = names(&mut never, &claims, &[], seconds);
            assert_eq!(suspects.len(), expected, "after {seconds} s");
        }
        let mut ended = Keeper::default();
        assert!(names(&mut ended, &claims, &["r1"], 0).is_empty());
        assert_eq!(names(&mut ended, &claims, &[], 10), ["a", "b"]);
    }
}
