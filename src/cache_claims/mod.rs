//! Pools of claims in a cluster: a watch that keeps the [cluster state](crate::cluster::state) up to date, the lease
//! in an admission request, the leader's controller, and what a person does. What is decided here, [`pool`](slipway_core::cache::claims)
//! decides.

mod api;
mod controller;
mod lease;
mod manual;
mod watch;

use std::sync::Arc;

use kube::Client;

pub use api::{PodObject, claim_of};
pub(crate) use controller::wanted_pools;
pub use controller::{Controller, Timings};
pub use lease::Leaser;
pub use manual::{Done, ManualChanges, Refusal, holders};

use crate::{
    cluster::{leader::Leadership, state::LiveState},
    metrics::Metrics,
};

/// Who writes, in `managedFields`.
pub(crate) const FIELD_MANAGER: &str = "slipway";

/// Does the leader's work on claims whenever this replica leads, for ever.
pub async fn lead(
    client: Client,
    mut leadership: Leadership,
    state: Arc<LiveState>,
    metrics: Arc<Metrics>,
) {
    loop {
        if !leadership.is_leader() {
            leadership.changed_from(false).await;
        }
        let (state, metrics) = (Arc::clone(&state), Arc::clone(&metrics));
        let controller = Controller::new(client.clone(), state, metrics, Timings::default());
        tokio::select! {
            () = controller.lead() => {}
            () = leadership.lost() => {}
        }
    }
}

/// Follows the claims while the policy has pools, for ever.
pub async fn follow(client: Client, state: Arc<LiveState>, metrics: Arc<Metrics>) {
    loop {
        state.until(|state| state.policy.has_claim_pools()).await;
        tokio::select! {
            () = watch::follow(client.clone(), &state, &metrics) => {}
            () = state.until(|state| !state.policy.has_claim_pools()) => {}
        }
        watch::forget(&state, &metrics);
    }
}
