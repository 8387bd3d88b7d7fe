//! The leader's work on claims: it ends leases, creates and deletes the claims of pools, and records
//! which nodes can reach the volumes of bound claims.
//!
//! Each pass looks at everything, so nothing depends on having seen every event. Two leaders at once,
//! or one that was frozen for a while, do no harm: each write names the version of the claim that it
//! was decided on.

mod calls;
mod leases;
mod pools;

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt;
use kube::{Api, Client, ResourceExt};
use slipway_core::cache::claims::{LEASE, expire::APPEARANCE_TIMEOUT};
use tokio::time::sleep;

use calls::Calls;
use leases::LeaseExpiry;
use pools::PoolUpkeep;
pub(crate) use pools::wanted_pools;

use super::PodObject;
use crate::{
    cluster::{
        state::{ClusterState, LiveState},
        watch::changes::{Change, changes_of_labelled},
    },
    metrics::{Metrics, Watched},
};

/// The timings of the controller.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// How long a pod may take to appear after its lease was written.
    pub appearance_timeout: Duration,
    /// The longest time between two passes.
    pub resync: Duration,
    /// How long changes are gathered before a pass.
    pub debounce: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            appearance_timeout: APPEARANCE_TIMEOUT,
            resync: Duration::from_secs(10),
            debounce: Duration::from_millis(200),
        }
    }
}

/// The pods that have leases, as the watch shows them, by namespace and name.
type Pods = BTreeMap<(String, String), PodObject>;

/// The leader's work on claims. It can be dropped at any point: what it remembers only makes it faster
/// or more careful, and a new leader starts with a new controller.
pub struct Controller {
    client: Client,
    state: Arc<LiveState>,
    metrics: Arc<Metrics>,
    timings: Timings,
    calls: Calls,
    leases: LeaseExpiry,
    pools: PoolUpkeep,
    /// `None` before the first list.
    pods: Option<Pods>,
}

impl Controller {
    /// Creates the controller of a new leader.
    #[must_use]
    pub fn new(
        client: Client,
        state: Arc<LiveState>,
        metrics: Arc<Metrics>,
        timings: Timings,
    ) -> Self {
        let calls = Calls::new(client.clone(), Arc::clone(&state), Arc::clone(&metrics));
        Self {
            client,
            state,
            metrics,
            timings,
            calls,
            leases: LeaseExpiry::new(timings.appearance_timeout),
            pools: PoolUpkeep::default(),
            pods: None,
        }
    }

    /// Does the leader's work, forever. Drop it when leadership is lost.
    pub async fn lead(mut self) {
        let state = Arc::clone(&self.state);
        loop {
            state.until(is_needed).await;
            tokio::select! {
                () = self.work() => {}
                () = state.until(|state| !is_needed(state)) => {}
            }
            self.metrics.watches.end(Watched::Pods);
            self.pods = None;
        }
    }

    /// Makes a pass after every change, and at least once per resync period.
    async fn work(&mut self) {
        self.metrics.watches.begin(Watched::Pods);
        let metrics = Arc::clone(&self.metrics);
        let api = Api::<PodObject>::all(self.client.clone());
        let mut pods = pin!(changes_of_labelled(api, LEASE, Watched::Pods, &metrics));
        let mut changed = self.state.subscribe();
        loop {
            tokio::select! {
                Some(change) = pods.next() => self.apply(change),
                _ = changed.changed() => {}
                () = sleep(self.timings.resync) => {}
            }
            let mut gathered = pin!(sleep(self.timings.debounce));
            loop {
                tokio::select! {
                    Some(change) = pods.next() => self.apply(change),
                    () = &mut gathered => break,
                }
            }
            changed.mark_unchanged();
            self.pass().await;
        }
    }

    fn apply(&mut self, change: Change<PodObject>) {
        let key = |pod: &PodObject| (pod.namespace().unwrap_or_default(), pod.name_any());
        match change {
            Change::All(all) => {
                self.pods = Some(all.into_iter().map(|pod| (key(&pod), pod)).collect());
            }
            Change::Applied(pod) => {
                self.pods.get_or_insert_default().insert(key(&pod), pod);
            }
            Change::Deleted(pod) => {
                self.pods.get_or_insert_default().remove(&key(&pod));
            }
        }
    }

    /// Looks at all claims and pods, and does what is due.
    async fn pass(&mut self) {
        let state = self.state.load().clone();
        let Some(claims) = &state.claims else {
            return;
        };
        if let Some(pods) = &self.pods {
            self.leases.end(&self.calls, claims, pods).await;
        }
        for claim in claims.iter().filter(|claim| claim.lacks_topology()) {
            self.calls.record_topology(claim).await;
        }
        self.pools.keep_up(&self.calls, &state, claims).await;
    }
}

/// Returns whether there is work: the policy has pools, and the claims and namespaces are known.
fn is_needed(state: &ClusterState) -> bool {
    state.policy.has_claim_pools() && state.claims.is_some() && state.namespaces.is_some()
}
