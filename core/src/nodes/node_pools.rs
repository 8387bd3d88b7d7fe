//! The number of nodes in each node pool, for people.

use std::collections::BTreeMap;

use super::{Restriction, RuntimeKind, Snapshot, group::Group, pool_labels::POOL_LABELS};

/// Nodes of one pool that have the same runtime.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolRuntime<'s> {
    /// The label that names the pool; `None` for nodes that no label puts in a pool.
    pub label: Option<PoolLabel<'s>>,
    /// Their runtime.
    pub runtime: RuntimeKind,
    /// Its socket.
    pub socket: Option<&'s str>,
    /// What forbids its use.
    pub restriction: Option<Restriction>,
}

/// A label that names a node pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolLabel<'s> {
    /// Its key.
    pub key: &'static str,
    /// Its value, the pool's name.
    pub value: &'s str,
}

/// A number of nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeCount {
    /// All of them.
    pub nodes: usize,
    /// The cordoned ones among them.
    pub cordoned: usize,
}

impl Snapshot {
    /// Counts the nodes by pool, runtime, socket and restriction.
    #[must_use]
    pub fn count_by_node_pool(&self) -> BTreeMap<PoolRuntime<'_>, NodeCount> {
        let mut counts = BTreeMap::<_, NodeCount>::new();
        for filled in self.groups.filled() {
            let count = counts.entry(PoolRuntime::of(filled.group)).or_default();
            count.nodes += filled.nodes;
            if filled.group.traits.unschedulable {
                count.cordoned += filled.nodes;
            }
        }
        counts
    }
}

impl<'s> PoolRuntime<'s> {
    fn of(group: &'s Group) -> Self {
        let label = |key| {
            let value = group.labels.get(key)?;
            Some(PoolLabel { key, value })
        };
        let runtime = group.runtime();
        Self {
            label: POOL_LABELS.into_iter().find_map(label),
            runtime: runtime.kind,
            socket: runtime.socket.as_deref(),
            restriction: runtime.restriction,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::nodes::NodeObject;

    fn node(name: &str, pool: Option<&str>, cordoned: bool) -> NodeObject {
        let mut node = json!({"metadata": {"name": name, "labels": {"x": name}}, "spec": {"unschedulable": cordoned},
            "status": {"nodeInfo": {"containerRuntimeVersion": "containerd://2.1"}}});
        if let Some(pool) = pool {
            node["metadata"]["labels"]["agentpool"] = json!(pool);
        }
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn nodes_are_counted_by_pool_whatever_else_tells_them_apart() {
        let snapshot = Snapshot::new([
            node("a", Some("ci"), false),
            node("b", Some("ci"), true),
            node("c", None, false),
        ]);
        let counts: Vec<_> = snapshot.count_by_node_pool().into_iter().collect();
        let [(none, one), (ci, two)] = counts.as_slice() else {
            panic!("{counts:?}");
        };
        assert_eq!((none.label, one.nodes), (None, 1));
        let label = PoolLabel {
            key: "agentpool",
            value: "ci",
        };
        assert_eq!(ci.label, Some(label));
        assert_eq!((two.nodes, two.cordoned), (2, 1));
        assert_eq!(ci.socket, Some("/run/containerd/containerd.sock"));
    }
}
