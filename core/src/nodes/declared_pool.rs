//! Node pools that a policy declares, because they may have no nodes when a pod is created.

use std::collections::BTreeMap;

use super::{
    RuntimeFacts, RuntimeKind, Taint,
    group::{Group, Traits},
};

/// A node pool that can be scaled to zero, as the policy's `nodePools` describe it. It counts as a
/// candidate while no node has its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredPool {
    pub(super) group: Group,
}

impl DeclaredPool {
    /// Creates a pool of nodes with these labels and taints. Without a socket they have the usual
    /// one of their runtime.
    #[must_use]
    pub fn new(
        labels: BTreeMap<String, String>,
        taints: Vec<Taint>,
        kind: RuntimeKind,
        socket: Option<String>,
    ) -> Self {
        let runtime = RuntimeFacts {
            kind,
            socket: socket.or_else(|| kind.usual_socket().map(str::to_owned)),
            restriction: None,
            kubelet_minor: None,
        };
        let traits = Traits {
            taints,
            unschedulable: false,
            runtime,
        };
        Self {
            group: Group::new(labels, traits),
        }
    }
}
