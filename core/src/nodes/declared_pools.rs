//! The nodes counted by the pool that they belong to, for people.

use std::collections::BTreeMap;

use super::{Group, Restriction, RuntimeKind, Snapshot, candidates::POOL_NAME_LABELS};

/// Nodes of one pool that are alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolNodes<'s> {
    /// The label that names the pool and its value; `None` for nodes that no label puts in a pool.
    pub pool: Option<(&'static str, &'s str)>,
    /// Their runtime.
    pub runtime: RuntimeKind,
    /// Its socket.
    pub socket: Option<&'s str>,
    /// What forbids its use.
    pub restriction: Option<Restriction>,
}

/// How many nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolCount {
    /// All of them.
    pub nodes: usize,
    /// Those among them that are cordoned.
    pub cordoned: usize,
}

impl Snapshot {
    /// The nodes by pool, runtime, socket and restriction.
    #[must_use]
    pub fn count_by_pool(&self) -> BTreeMap<PoolNodes<'_>, PoolCount> {
        let mut counts = BTreeMap::<_, PoolCount>::new();
        for (group, nodes) in self.groups() {
            let count = counts.entry(pool_of(group)).or_default();
            count.nodes += nodes;
            count.cordoned += if group.unschedulable { nodes } else { 0 };
        }
        counts
    }
}

fn pool_of(group: &Group) -> PoolNodes<'_> {
    let mut labels = POOL_NAME_LABELS.iter();
    PoolNodes {
        pool: labels.find_map(|key| Some((*key, group.labels.get(*key)?.as_str()))),
        runtime: group.facts.kind,
        socket: group.facts.socket.as_deref(),
        restriction: group.facts.restriction,
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
        let counts: Vec<_> = snapshot.count_by_pool().into_iter().collect();
        let [(none, one), (ci, two)] = counts.as_slice() else {
            panic!("{counts:?}");
        };
        assert_eq!((none.pool, one.nodes), (None, 1));
        assert_eq!(ci.pool, Some(("agentpool", "ci")));
        assert_eq!((two.nodes, two.cordoned), (2, 1));
        assert_eq!(ci.socket, Some("/run/containerd/containerd.sock"));
    }
}
