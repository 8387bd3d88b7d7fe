//! The nodes as they come and go.
//!
//! A change costs the same with 10 nodes as with 100,000: it touches one node, its group, and one
//! shard of each map. Everything is grouped again only when a label becomes individual, or shared
//! again.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    NodeObject, Snapshot,
    group::{Group, GroupIndex, Labels, Traits},
    individual_labels::{IndividualLabels, LabelUsage, SplitLabels},
    snapshot::Node,
};

/// All nodes of a cluster, kept up to date. Its methods report whether a change mattered: a
/// heartbeat, which the kubelet sends every few minutes, does not.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    snapshot: Snapshot,
    groups: GroupIndex,
    label_usage: LabelUsage,
}

/// A node with all of its labels, whatever group it belongs to.
pub(super) struct NodeDescription {
    pub name: Arc<str>,
    pub labels: Labels,
    pub traits: Traits,
}

impl NodeDescription {
    fn of(node: NodeObject) -> Self {
        Self {
            traits: Traits::of(&node),
            name: node.metadata.name.into(),
            labels: node.metadata.labels,
        }
    }

    /// Puts the description of a known node together again.
    fn restore(name: &Arc<str>, node: &Node, group: &Group) -> Self {
        let mut labels = group.labels.clone();
        for label in &node.individual_labels {
            labels.insert(label.key.to_string(), label.value.to_string());
        }
        Self {
            name: Arc::clone(name),
            labels,
            traits: group.traits.clone(),
        }
    }
}

impl Inventory {
    /// Adds a node, or replaces the one of the same name. Returns whether anything changed.
    pub fn apply(&mut self, node: NodeObject) -> bool {
        let node = NodeDescription::of(node);
        if self.contains(&node) {
            return false;
        }
        let replaced = self.take(&node.name);
        let replaced_keys = replaced.iter().flat_map(|node| node.labels.keys());
        let touched: Vec<String> = replaced_keys.chain(node.labels.keys()).cloned().collect();
        self.insert(node);
        self.regroup_if_needed(&touched);
        true
    }

    /// Removes a node. Returns whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(node) = self.take(name) else {
            return false;
        };
        let touched: Vec<String> = node.labels.into_keys().collect();
        self.regroup_if_needed(&touched);
        true
    }

    /// Replaces all nodes; of two with one name the later counts. Returns whether anything changed.
    pub fn replace(&mut self, nodes: impl IntoIterator<Item = NodeObject>) -> bool {
        let nodes: BTreeMap<Arc<str>, NodeDescription> = nodes
            .into_iter()
            .map(NodeDescription::of)
            .map(|node| (Arc::clone(&node.name), node))
            .collect();
        if nodes.len() == self.snapshot.len() && nodes.values().all(|node| self.contains(node)) {
            return false;
        }
        self.regroup(nodes.into_values().collect());
        true
    }

    /// Replaces all nodes by those of another inventory. Returns whether anything changed.
    pub fn replace_with(&mut self, other: Self) -> bool {
        if self.has_the_nodes_of(&other) {
            return false;
        }
        *self = other;
        true
    }

    /// Returns the nodes as they are now. This is cheap: the snapshot shares its parts with the
    /// inventory.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    fn has_the_nodes_of(&self, other: &Self) -> bool {
        let mut nodes = other.snapshot.nodes.iter();
        self.snapshot.len() == other.snapshot.len()
            && nodes.all(|(name, node)| {
                let group = other.snapshot.groups.get(node.group);
                let restored = group.map(|group| NodeDescription::restore(name, node, group));
                restored.is_some_and(|node| self.contains(&node))
            })
    }

    /// Returns whether the node is known exactly as described.
    fn contains(&self, described: &NodeDescription) -> bool {
        let Some(node) = self.snapshot.nodes.get(&described.name) else {
            return false;
        };
        let Some(group) = self.snapshot.groups.get(node.group) else {
            return false;
        };
        let target = node.target(&described.name, group);
        let labels = group.labels.len() + node.individual_labels.len();
        let has = |(key, value): (&String, &String)| target.label(key) == Some(value);
        group.traits == described.traits
            && labels == described.labels.len()
            && described.labels.iter().all(has)
    }

    fn insert(&mut self, node: NodeDescription) {
        let NodeDescription {
            name,
            labels,
            traits,
        } = node;
        let Snapshot {
            groups,
            nodes,
            individual_labels,
        } = &mut self.snapshot;
        self.label_usage.add(&labels, individual_labels);
        let SplitLabels { shared, individual } = individual_labels.split(labels, &name);
        for label in &individual {
            individual_labels.insert(label, &name);
        }
        let node = Node {
            group: self.groups.add_node(groups, Group::new(shared, traits)),
            individual_labels: individual,
        };
        nodes.insert(name, node);
    }

    fn take(&mut self, name: &str) -> Option<NodeDescription> {
        let Snapshot {
            groups,
            nodes,
            individual_labels,
        } = &mut self.snapshot;
        let (name, node) = nodes.remove(name)?;
        let group = self.groups.remove_node(groups, node.group)?;
        for label in &node.individual_labels {
            individual_labels.remove(label, &name);
        }
        let description = NodeDescription::restore(&name, &node, &group);
        self.label_usage.remove(&description.labels);
        Some(description)
    }

    /// Groups all nodes again if one of these labels became individual, or shared.
    fn regroup_if_needed(&mut self, touched: &[String]) {
        let individual = &self.snapshot.individual_labels;
        let is_misplaced = |key: &String| self.label_usage.is_misplaced(key, individual);
        if touched.iter().any(is_misplaced) {
            let names = self.snapshot.nodes.iter().map(|(name, _)| Arc::clone(name));
            let names: Vec<Arc<str>> = names.collect();
            let nodes = names.iter().filter_map(|name| self.take(name)).collect();
            self.regroup(nodes);
        }
    }

    /// Replaces all nodes by these, grouped by the labels that they share.
    fn regroup(&mut self, nodes: Vec<NodeDescription>) {
        *self = Self::default();
        self.snapshot.individual_labels =
            IndividualLabels::of(nodes.iter().map(|node| &node.labels));
        for node in nodes {
            self.insert(node);
        }
    }
}

impl Snapshot {
    /// Creates the snapshot of these nodes.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = NodeObject>) -> Self {
        let mut inventory = Inventory::default();
        inventory.replace(nodes);
        inventory.snapshot
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        nodes::{DeclaredPool, RuntimeKind},
        pod::Pod,
    };

    #[allow(clippy::needless_pass_by_value, reason = "reads better in tests")]
    fn node(name: &str, annotations: Value) -> NodeObject {
        serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}}))
            .unwrap()
    }

    /// Node `number` in one of three pools, with a hostname of its own.
    fn numbered(number: usize, pool: usize) -> NodeObject {
        let name = format!("n{number}");
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": format!("{name}.local"), "pool": format!("p{pool}")}},
            "status": {"nodeInfo": {"containerRuntimeVersion": if pool == 0 { "docker://28" } else { "containerd://2" }}}
        }))
        .unwrap()
    }

    #[test]
    fn only_what_decisions_depend_on_is_a_change() {
        let mut inventory = Inventory::default();
        assert!(inventory.apply(node("a", json!({}))));
        assert!(!inventory.apply(node("a", json!({"csi.volume/x": "y"}))));
        assert!(inventory.apply(numbered(1, 0)));
        assert!(!inventory.apply(numbered(1, 0)));
        assert!(inventory.apply(numbered(1, 1)));
        assert!(inventory.remove("a"));
        assert!(!inventory.remove("a"));
    }

    #[test]
    fn replacing_all_nodes_by_the_same_nodes_is_not_a_change() {
        let all = |n| (0..n).map(|i| numbered(i, i % 3));
        let mut inventory = Inventory::default();
        assert!(inventory.replace(all(200)));
        assert!(!inventory.replace(all(200)));
        assert!(inventory.replace(all(199)));
        assert_eq!(inventory.snapshot().len(), 199);
        let listed = |nodes: usize, pool_of_last: usize| {
            let mut listed = Inventory::default();
            for i in 0..nodes - 1 {
                listed.apply(numbered(i, i % 3));
            }
            listed.apply(numbered(nodes - 1, pool_of_last));
            listed
        };
        assert!(!inventory.replace_with(listed(199, 0)));
        assert!(inventory.replace_with(listed(199, 1)));
        assert!(inventory.replace_with(listed(198, 2)));
        assert_eq!(inventory.snapshot().len(), 198);
    }

    #[test]
    fn a_label_becomes_individual_as_nodes_come_and_shared_as_they_go() {
        let mut inventory = Inventory::default();
        let groups = |inventory: &Inventory| inventory.snapshot().groups.filled().count();
        for i in 0..300 {
            inventory.apply(numbered(i, i % 3));
        }
        assert_eq!(groups(&inventory), 3, "one group for each pool");
        for i in 10..300 {
            inventory.remove(&format!("n{i}"));
        }
        assert_eq!(groups(&inventory), 10, "one group for each node");
        assert!(inventory.snapshot().individual_labels.is_empty());
    }

    #[test]
    fn small_pools_can_be_pinned_to_and_their_nodes_are_found() {
        let pooled = |i: usize| -> NodeObject {
            let labels = json!({"agentpool": format!("p{}", i / 4), "team": format!("t{}", i / 4)});
            let runtime = if i < 4 {
                "docker://28"
            } else {
                "containerd://2"
            };
            serde_json::from_value(
                json!({"metadata": {"name": format!("n{i}"), "labels": labels},
                "status": {"nodeInfo": {"containerRuntimeVersion": runtime}}}),
            )
            .unwrap()
        };
        let snapshot = Snapshot::new((0..160).map(pooled));
        assert!(snapshot.individual_labels.contains("team"));
        let pod = Pod::parse(b"{}").unwrap();
        let pin = snapshot
            .candidates(&pod, &[])
            .pin_to(RuntimeKind::Containerd, true);
        assert_eq!(pin.unwrap().key, "agentpool");

        let pool = |team: &str| {
            let labels = [("team".to_owned(), team.to_owned())].into();
            [DeclaredPool::new(labels, vec![], RuntimeKind::CriO, None)]
        };
        let empty = |team| {
            let pools = pool(team);
            let candidates = snapshot.candidates(&pod, &pools);
            candidates.found.iter().any(|found| found.nodes == 0)
        };
        assert!(!empty("t7"), "it has nodes");
        assert!(empty("t99"));
    }

    #[test]
    fn a_snapshot_does_not_change_with_the_inventory() {
        let mut inventory = Inventory::default();
        inventory.replace((0..100).map(|i| numbered(i, 1)));
        let before = inventory.snapshot();
        inventory.apply(numbered(5, 0));
        inventory.remove("n7");
        assert_eq!((before.len(), inventory.snapshot().len()), (100, 99));
        assert_eq!(before.count_by_runtime().len(), 1);
        assert_eq!(inventory.snapshot().count_by_runtime().len(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The answers depend on the nodes that are there, not on those that came and went.
        #[test]
        fn an_inventory_answers_like_a_new_one_with_the_same_nodes(
            changes in proptest::collection::vec((0_usize..90, 0_usize..3, proptest::bool::weighted(0.7)), 0..400),
        ) {
            let mut inventory = Inventory::default();
            let mut there = BTreeMap::new();
            for (number, pool, comes) in changes {
                if comes {
                    inventory.apply(numbered(number, pool));
                    there.insert(number, pool);
                } else {
                    inventory.remove(&format!("n{number}"));
                    there.remove(&number);
                }
            }
            let all: Vec<NodeObject> = there.iter().map(|(n, p)| numbered(*n, *p)).collect();
            let (kept, new) = (inventory.snapshot(), Snapshot::new(all));
            prop_assert_eq!(kept.len(), there.len());
            prop_assert_eq!(kept.count_by_runtime(), new.count_by_runtime());
            for spec in [
                json!({}),
                json!({"nodeName": "n3"}),
                json!({"nodeSelector": {"pool": "p1"}}),
                json!({"nodeSelector": {"kubernetes.io/hostname": "n4.local"}}),
                affinity(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1", "n2"]}]},
                    {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2.local", "n5.local"]}]}])),
                affinity(json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["n2.local"]}]}])),
            ] {
                let text = json!({"spec": spec}).to_string();
                let pod = Pod::parse(text.as_bytes()).unwrap();
                let (kept, new) = (kept.candidates(&pod, &[]), new.candidates(&pod, &[]));
                prop_assert_eq!(kept.nodes(), new.nodes(), "{}", text);
                prop_assert_eq!(kept.kubelet_minor(), new.kubelet_minor());
            }
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "reads better in tests")]
    fn affinity(terms: Value) -> Value {
        json!({"affinity": {"nodeAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    }
}
