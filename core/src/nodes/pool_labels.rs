//! The labels that put nodes into pools.

use super::runtime_facts::{GKE_RUNTIME_LABEL, RUNTIME_LABEL};

/// Labels that name the pool of a node.
pub(super) const POOL_LABELS: [&str; 7] = [
    "kubernetes.azure.com/agentpool",
    "agentpool",
    "eks.amazonaws.com/nodegroup",
    "karpenter.sh/nodepool",
    "cloud.google.com/gke-nodepool",
    "node-pool",
    "pool",
];

/// Returns the labels by which a pod can be pinned to some pools, the preferred one first.
pub(super) fn pinning_labels() -> impl Iterator<Item = &'static str> {
    [RUNTIME_LABEL, GKE_RUNTIME_LABEL]
        .into_iter()
        .chain(POOL_LABELS)
}
