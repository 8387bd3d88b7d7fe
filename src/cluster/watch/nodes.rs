//! Watches the nodes and turns them into snapshots.

use std::{pin::pin, sync::Arc};

use futures_util::StreamExt;
use kube::{Api, Client};
use slipway_core::nodes::Inventory;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};

use super::{
    GATHER,
    changes::{Change, changes},
    objects::Node,
};
use crate::{
    cluster::state::LiveState,
    metrics::{Metrics, Watched},
};

/// A list of nodes on its way to an inventory. Each node is reduced as it arrives: in full, the nodes of a large
/// cluster would not fit into memory.
#[derive(Default)]
struct Listing(Inventory);

impl Extend<Node> for Listing {
    fn extend<I: IntoIterator<Item = Node>>(&mut self, nodes: I) {
        for node in nodes {
            self.0.apply(node.into_object());
        }
    }
}

/// Follows the nodes, forever.
pub(super) async fn follow(client: Client, state: &LiveState, metrics: &Metrics) {
    let mut changes = pin!(changes(Api::<Node>::all(client), Watched::Nodes, metrics));
    let mut inventory = Inventory::default();
    let mut first = true;
    while let Some(change) = changes.next().await {
        let listed = matches!(change, Change::All(_));
        let mut matters = apply(&mut inventory, change);
        if matters && !listed {
            // Upgrading a node pool changes many nodes at once.
            let end = Instant::now() + GATHER;
            while let Ok(Some(change)) = timeout_at(end, changes.next()).await {
                matters |= apply(&mut inventory, change);
            }
        }
        if matters || first {
            let snapshot = Arc::new(inventory.snapshot());
            if std::mem::take(&mut first) {
                info!(nodes = snapshot.len(), "nodes known");
            } else {
                debug!(nodes = snapshot.len(), "new snapshot of the nodes");
            }
            state.update(|state| state.nodes = Some(Arc::clone(&snapshot)));
        }
    }
}

/// Applies a change. Returns whether it matters to decisions: heartbeats do not.
fn apply(inventory: &mut Inventory, change: Change<Node, Listing>) -> bool {
    match change {
        Change::All(Listing(all)) => inventory.replace_with(all),
        Change::Applied(node) => inventory.apply(node.into_object()),
        Change::Deleted(node) => {
            inventory.remove(node.metadata.name.as_deref().unwrap_or_default())
        }
    }
}
