//! Pools of claims in a cluster: a watch that keeps the [facts](crate::facts) up to date, the lease
//! in an admission request, and the leader's controller. What is decided here, [`pool`](crate::pool)
//! decides.

mod api;
mod controller;
mod lease;
mod watch;

use std::sync::Arc;

use kube::Client;

pub use api::{PodObject, claim_of};
pub use controller::{Controller, Pace};
pub use lease::Leaser;

use crate::{facts::LiveFacts, metrics::Metrics};

/// Who writes, in `managedFields`.
pub(crate) const FIELD_MANAGER: &str = "slipway";

/// Follows the claims while the policy has pools, for ever.
pub async fn follow(client: Client, facts: Arc<LiveFacts>, metrics: Arc<Metrics>) {
    loop {
        facts.until(|facts| facts.policy.has_pools()).await;
        tokio::select! {
            () = watch::follow(client.clone(), &facts, &metrics) => {}
            () = facts.until(|facts| !facts.policy.has_pools()) => {}
        }
        watch::forget(&facts, &metrics);
    }
}
