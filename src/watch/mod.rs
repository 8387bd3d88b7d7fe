//! What keeps the [facts](crate::facts) up to date: watches on the cluster's nodes, namespaces and
//! LimitRanges; the policy file; probes of the registry mirrors.
//!
//! Each of them runs for ever, survives every error, and replaces its own part of the facts whole.

pub(crate) mod changes;
pub mod mirrors;
mod namespaces;
mod nodes;
mod objects;
pub mod policy;

use std::sync::Arc;

use kube::Client;

use crate::{facts::LiveFacts, metrics::Metrics};

/// Watches nodes, namespaces and LimitRanges, for ever.
pub async fn cluster(client: Client, facts: Arc<LiveFacts>, metrics: Arc<Metrics>) {
    tokio::join!(
        nodes::follow(client.clone(), &facts, &metrics),
        namespaces::follow(client, &facts, &metrics),
    );
}
