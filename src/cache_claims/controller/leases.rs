//! Ends leases that are over.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use kube::ResourceExt;
use slipway_core::cache::claims::{
    Claim, Claims,
    expire::{PodLease, Sightings, is_over},
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
            for claim in suspects {
                if is_over(&claim, &live_pods) {
                    calls.release(&claim).await;
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
    fn suspects(&mut self, claims: &Claims, pods: &Pods) -> BTreeMap<String, Vec<Arc<Claim>>> {
        let seen: HashSet<PodLease> = pods.values().filter_map(lease_of).collect();
        let live_pods = pods.values().filter(|pod| pod.is_live());
        let live: HashSet<PodLease> = live_pods.filter_map(lease_of).collect();
        let now = self.started.elapsed();
        let suspects = self
            .sightings
            .suspects(claims, &seen, &live, now, self.appearance_timeout);
        let mut by_namespace: BTreeMap<String, Vec<Arc<Claim>>> = BTreeMap::new();
        for claim in suspects {
            by_namespace
                .entry(claim.namespace.clone())
                .or_default()
                .push(claim);
        }
        by_namespace
    }
}

fn lease_of(pod: &PodObject) -> Option<PodLease> {
    Some(PodLease {
        namespace: pod.namespace()?,
        lease: pod.lease()?.to_owned(),
    })
}
