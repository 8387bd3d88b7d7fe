//! The nodes as they come and go; gives the snapshots.

use std::collections::BTreeMap;

use super::{NodeObject, Snapshot};

/// All nodes that are there now. Changes say whether they mean anything: what the kubelet reports
/// every few minutes to show that it lives does not.
#[derive(Debug, Clone, Default)]
pub struct Inventory(BTreeMap<String, NodeObject>);

impl Inventory {
    /// Takes a node that is new or different. Whether that means anything.
    pub fn apply(&mut self, mut node: NodeObject) -> bool {
        node.forget_unused();
        if self.0.get(&node.metadata.name) == Some(&node) {
            return false;
        }
        self.0.insert(node.metadata.name.clone(), node);
        true
    }

    /// Takes a node away. Whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Takes these nodes as all there are. Whether that means anything.
    pub fn replace(&mut self, nodes: impl IntoIterator<Item = NodeObject>) -> bool {
        let new = nodes.into_iter().map(|mut node| {
            node.forget_unused();
            (node.metadata.name.clone(), node)
        });
        let new = new.collect();
        let meant = self.0 != new;
        self.0 = new;
        meant
    }

    /// The nodes as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.0.values().cloned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "reads better in tests")]
    fn node(name: &str, annotations: Value) -> NodeObject {
        serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}}))
            .unwrap()
    }

    #[test]
    fn only_what_decides_is_a_change() {
        let mut inventory = Inventory::default();
        assert!(inventory.apply(node("a", json!({}))));
        assert!(!inventory.apply(node("a", json!({"csi.volume/x": "y"}))));
        let socket = json!({"slipway.io/runtime-socket": "/run/x.sock"});
        assert!(inventory.apply(node("a", socket)));
        assert!(inventory.remove("a"));
        assert!(!inventory.remove("a"));
    }

    #[test]
    fn the_same_list_again_is_no_change() {
        let all = || [node("a", json!({})), node("b", json!({"x": "y"}))];
        let mut inventory = Inventory::default();
        assert!(inventory.replace(all()));
        assert!(!inventory.replace(all()));
        assert_eq!(inventory.snapshot().len(), 2);
        assert!(inventory.replace([node("b", json!({}))]));
        assert_eq!(inventory.snapshot().len(), 1);
    }
}
