//! The cache pools of a cluster: watches their claims, leases claims to pods, and keeps the pools in
//! order, automatically on the leader and manually for `slipway cache`.
//!
//! Everything here does I/O; the [core](slipway_core::cache::claims) decides.

mod controller;
mod lease;
mod manual;
mod objects;
mod patch;
mod watch;

use std::sync::Arc;

use kube::Client;

pub(crate) use controller::wanted_pools;
pub use controller::{Controller, Timings};
pub use lease::Leaser;
pub use manual::{Done, ManualChanges, Refusal, holders};
pub use objects::{PodObject, claim_of};

use crate::{
    cluster::{leader::Leadership, state::LiveState},
    metrics::Metrics,
};

/// The field manager of all writes by the server.
pub(crate) const FIELD_MANAGER: &str = "slipway";

/// Does the leader's work on claims while this replica leads, forever.
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

/// Follows the claims while the policy has pools, forever.
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
