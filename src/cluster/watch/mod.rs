//! Keeps the [cluster state](crate::cluster::state) up to date: watches nodes, namespaces, LimitRanges and
//! ResourceQuotas, follows the policy file, and probes the registry mirrors.
//!
//! Each of these runs forever, survives every error, and replaces its own part of the state as a whole.

pub(crate) mod changes;
pub mod mirrors;
mod namespaces;
mod nodes;
mod objects;
pub mod policy;

pub use changes::MAX_SILENCE;

use std::{fmt::Debug, sync::Arc, time::Duration};

use kube::{Api, Client, Resource, api::ListParams};
use serde::de::DeserializeOwned;
use slipway_core::{k8s::namespace::Namespaces, nodes::NodeObject};

use crate::{cluster::state::LiveState, metrics::Metrics};

/// How long changes are gathered before they are published together.
const GATHER: Duration = Duration::from_millis(200);
/// The size of a page of a list, in objects.
const PAGE: u32 = 500;

/// Watches nodes, namespaces, LimitRanges and ResourceQuotas, forever.
pub async fn cluster(client: Client, state: Arc<LiveState>, metrics: Arc<Metrics>) {
    tokio::join!(
        nodes::follow(client.clone(), &state, &metrics),
        namespaces::follow(client, &state, &metrics),
    );
}

/// Lists the nodes once.
///
/// # Errors
/// When the API server cannot be reached, or denies the list.
pub async fn list_nodes(client: Client) -> kube::Result<Vec<NodeObject>> {
    let nodes = list::<objects::Node>(client).await?;
    Ok(nodes.into_iter().map(objects::Node::into_object).collect())
}

/// Lists the namespaces once, with their LimitRanges and ResourceQuotas.
///
/// # Errors
/// When the API server cannot be reached, or denies the list.
pub async fn list_namespaces(client: Client) -> kube::Result<Namespaces> {
    let namespaces = list(client.clone()).await?;
    let limits = list(client.clone()).await?;
    let quotas = list(client).await?;
    Ok(namespaces::known(namespaces, limits, quotas))
}

/// Lists all objects of a kind.
async fn list<K>(client: Client) -> kube::Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    list_pages(&Api::all(client), ListParams::default()).await
}

/// Lists the objects that `wanted` selects, page by page, all as of one moment after the call.
///
/// # Errors
/// When the API server cannot be reached, or denies the list.
pub(crate) async fn list_pages<K>(api: &Api<K>, wanted: ListParams) -> kube::Result<Vec<K>>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut page = wanted.limit(PAGE);
    let mut objects = Vec::new();
    loop {
        let list = api.list(&page).await?;
        objects.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(objects),
        }
    }
}
