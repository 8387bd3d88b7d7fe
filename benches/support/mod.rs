//! What the benchmarks share: the load they put on. Each benchmark uses a part of it.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub mod bare;
pub mod fleets;
pub mod process;
pub mod reviews;
pub mod table;

use std::sync::Arc;

use slipway::cluster::state::ClusterState;
use slipway_core::{k8s::cluster_file, nodes::Snapshot};

/// The state of a cluster with these nodes, and with the built-in example's namespaces and policy.
pub fn cluster_state(nodes: Snapshot) -> ClusterState {
    let namespaces = cluster_file::example_namespaces().expect("the built-in example is readable");
    ClusterState {
        nodes: Some(Arc::new(nodes)),
        namespaces: Some(Arc::new(namespaces)),
        ..ClusterState::default()
    }
}
