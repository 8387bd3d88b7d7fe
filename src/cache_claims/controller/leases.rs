//! Ends leases that are over.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use kube::ResourceExt;
use slipway_core::cache::claims::{
    Claims,
    expire::{PodLease, Sightings, Suspect, is_over},
};
use tracing::debug;

use super::{Pods, calls::Calls};
use crate::cache_claims::PodObject;

/// What one leader remembers in order to end leases.
pub(super) struct LeaseExpiry {
    /// The start of the clock that sightings are timed by.
    started: Instant,
    appearance_timeout: Duration,
    sightings: Sightings,
}

impl LeaseExpiry {
    pub(super) fn new(appearance_timeout: Duration) -> Self {
        Self {
            started: Instant::now(),
            appearance_timeout,
            sightings: Sightings::default(),
        }
    }

    /// Ends the leases that are over. `pods` may lag behind; it only tells which leases to check
    /// against a fresh list.
    pub(super) async fn end(&mut self, calls: &Calls, claims: &Claims, pods: &Pods) {
        for (namespace, suspects) in self.suspects(claims, pods) {
            let Some(live_pods) = calls.live_pods(&namespace).await else {
                continue;
            };
            for Suspect { claim, used } in suspects {
                if is_over(&claim, &live_pods) {
                    calls.release(&claim, used).await;
                } else {
                    debug!(
                        claim = claim.name,
                        namespace, "a live pod still holds the claim"
                    );
                }
            }
        }
    }

    /// Returns the claims whose leases may be over, by namespace.
    fn suspects(&mut self, claims: &Claims, pods: &Pods) -> BTreeMap<String, Vec<Suspect>> {
        let seen: HashSet<PodLease> = pods.values().flat_map(leases_of).collect();
        let live_pods = pods.values().filter(|pod| pod.is_live());
        let live: HashSet<PodLease> = live_pods.flat_map(leases_of).collect();
        let now = self.started.elapsed();
        let suspects = self
            .sightings
            .suspects(claims, &seen, &live, now, self.appearance_timeout);
        let mut by_namespace: BTreeMap<String, Vec<Suspect>> = BTreeMap::new();
        for suspect in suspects {
            by_namespace
                .entry(suspect.claim.namespace.clone())
                .or_default()
                .push(suspect);
        }
        by_namespace
    }
}

/// Returns the lease of a pod for each claim that it mounts.
fn leases_of(pod: &PodObject) -> Vec<PodLease> {
    let (Some(namespace), Some(lease)) = (pod.namespace(), pod.lease()) else {
        return Vec::new();
    };
    let claims = pod.holder().claims.into_iter();
    claims
        .map(|claim| PodLease {
            namespace: namespace.clone(),
            claim,
            lease: lease.to_owned(),
        })
        .collect()
}
