//! An immutable snapshot of all nodes, and the lookup of those that could run a pod.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Candidates, DeclaredPool, Restriction, RuntimeKind,
    candidates::ClusterFacts,
    group::{Group, GroupCount, GroupId, GroupTable, Labels},
    individual_labels::{IndividualLabel, IndividualLabels},
    scheduling::{self, Lookup, Target},
    sharded_map::ShardedMap,
};
use crate::pod::Pod;

/// All nodes at one moment. Clones share their parts.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(super) groups: GroupTable,
    /// The nodes, by name.
    pub(super) nodes: ShardedMap<Node>,
    pub(super) individual_labels: IndividualLabels,
}

/// What is kept of one node: all else is its group's.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub individual_labels: Box<[IndividualLabel]>,
    pub group: GroupId,
}

impl Node {
    /// Returns the node, whose group is `group`, as a target of scheduling.
    pub(super) fn target<'n>(&'n self, name: &'n str, group: &'n Group) -> Target<'n> {
        Target {
            name: Some(name),
            individual_labels: &self.individual_labels,
            group,
        }
    }
}

impl Snapshot {
    /// Returns the number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns whether there are no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts the nodes by the kind of their runtime.
    #[must_use]
    pub fn count_by_runtime(&self) -> BTreeMap<RuntimeKind, usize> {
        let mut counts = BTreeMap::new();
        for filled in self.groups.filled() {
            *counts.entry(filled.group.runtime().kind).or_default() += filled.nodes;
        }
        counts
    }

    /// Finds the nodes that could run `pod`, and the declared `pools` that could grow such a node.
    #[must_use]
    pub fn candidates<'s>(&'s self, pod: &Pod<'_>, pools: &'s [DeclaredPool]) -> Candidates<'s> {
        let mut found = match Lookup::of(pod, &self.individual_labels) {
            Lookup::ByGroup { named } => self.find_by_group(pod, &named),
            Lookup::ByNode => self.find_by_node(pod),
        };
        let declared = pools.iter().map(|pool| &pool.group).filter(|pool| {
            // A pool that has nodes is known by them.
            scheduling::admits(pod, Target::group(pool)) && !self.has_node_with(&pool.labels)
        });
        found.extend(declared.map(|group| GroupCount { group, nodes: 0 }));
        Candidates {
            found,
            cluster: self.facts(),
        }
    }

    /// Checks each group, then the `named` nodes, whose answers may differ from their group's.
    fn find_by_group(&self, pod: &Pod<'_>, named: &BTreeSet<&str>) -> Vec<GroupCount<'_>> {
        /// The nodes of a group that fit, as far as they are checked.
        struct Tally<'s> {
            found: GroupCount<'s>,
            group_fits: bool,
        }
        let mut tallies: Vec<Tally<'_>> = Vec::with_capacity(self.groups.slots().len());
        for slot in self.groups.slots() {
            let group_fits = slot.nodes > 0 && scheduling::admits(pod, Target::group(slot.group));
            let nodes = if group_fits { slot.nodes } else { 0 };
            let found = GroupCount { nodes, ..slot };
            tallies.push(Tally { found, group_fits });
        }
        let known = |name: &&str| self.nodes.get_key_value(name);
        for (name, node) in named.iter().filter_map(known) {
            let Some(Tally { found, group_fits }) = tallies.get_mut(node.group.index()) else {
                continue;
            };
            let fits = scheduling::admits(pod, node.target(name, found.group));
            match (*group_fits, fits) {
                (false, true) => found.nodes += 1,
                (true, false) => found.nodes -= 1,
                (true, true) | (false, false) => {}
            }
        }
        let found = tallies.into_iter().map(|tally| tally.found);
        found.filter(|found| found.nodes > 0).collect()
    }

    /// Checks each node.
    fn find_by_node(&self, pod: &Pod<'_>) -> Vec<GroupCount<'_>> {
        let mut found: BTreeMap<GroupId, GroupCount<'_>> = BTreeMap::new();
        for (name, node) in self.nodes.iter() {
            if let Some(group) = self.groups.get(node.group)
                && scheduling::admits(pod, node.target(name, group))
            {
                let count = found.entry(node.group);
                count.or_insert(GroupCount { group, nodes: 0 }).nodes += 1;
            }
        }
        found.into_values().collect()
    }

    fn facts(&self) -> ClusterFacts {
        let runtimes = || self.groups.filled().map(|filled| filled.group.runtime());
        // Autopilot is a property of the cluster; the other restrictions are those of single nodes.
        let is_autopilot =
            runtimes().any(|runtime| runtime.restriction == Some(Restriction::Autopilot));
        ClusterFacts {
            nodes: self.len(),
            lowest_kubelet_minor: runtimes().filter_map(|runtime| runtime.kubelet_minor).min(),
            restriction: is_autopilot.then_some(Restriction::Autopilot),
        }
    }

    /// Returns whether a node has all of these labels.
    fn has_node_with(&self, labels: &Labels) -> bool {
        let mut individual = labels.iter();
        let by_individual_label =
            individual.find_map(|(key, value)| self.individual_labels.nodes_with(key, value));
        let Some(mut names) = by_individual_label else {
            let mut filled = self.groups.filled();
            return filled.any(|filled| filled.group.has_labels(labels));
        };
        names.any(|name| self.node_has_labels(name, labels))
    }

    fn node_has_labels(&self, name: &str, labels: &Labels) -> bool {
        let Some(node) = self.nodes.get(name) else {
            return false;
        };
        let Some(group) = self.groups.get(node.group) else {
            return false;
        };
        let target = node.target(name, group);
        let mut labels = labels.iter();
        labels.all(|(key, value)| target.label(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::nodes::{Agreement, NodeObject};

    #[allow(clippy::needless_pass_by_value, reason = "reads better in tests")]
    fn node(name: &str, runtime: &str, labels: Value) -> NodeObject {
        let mut node = json!({
            "metadata": {"name": name, "labels": labels},
            "status": {"nodeInfo": {"containerRuntimeVersion": runtime, "kubeletVersion": "v1.34.0"}}
        });
        node["metadata"]["labels"]["kubernetes.io/hostname"] = json!(name);
        serde_json::from_value(node).unwrap()
    }

    fn fleet(n: usize) -> Snapshot {
        Snapshot::new((0..n).map(|i| {
            node(
                &format!("n{i}"),
                "containerd://2.1",
                json!({"pool": format!("p{}", i % 8)}),
            )
        }))
    }

    fn pod(spec: &Value) -> String {
        json!({ "spec": spec }).to_string()
    }

    fn on<'s>(snapshot: &'s Snapshot, spec: &Value) -> Candidates<'s> {
        snapshot.candidates(&Pod::parse(pod(spec).as_bytes()).unwrap(), &[])
    }

    #[test]
    fn a_thousand_nodes_of_eight_pools_form_eight_groups() {
        let snapshot = fleet(1000);
        assert_eq!(snapshot.len(), 1000);
        assert_eq!(snapshot.groups.filled().count(), 8);
        assert_eq!(
            on(&snapshot, &json!({"nodeSelector": {"pool": "p1"}})).nodes(),
            125
        );
    }

    #[test]
    fn a_pod_that_names_a_hostname_finds_that_node() {
        let snapshot = fleet(1000);
        let by_label = on(
            &snapshot,
            &json!({"nodeSelector": {"kubernetes.io/hostname": "n17"}}),
        );
        assert_eq!(by_label.nodes(), 1);
        assert_eq!(on(&snapshot, &json!({"nodeName": "n17"})).nodes(), 1);
        assert_eq!(on(&snapshot, &json!({"nodeName": "nowhere"})).nodes(), 0);
    }

    #[test]
    fn lookups_by_group_and_by_node_find_the_same_nodes() {
        let mut nodes: Vec<NodeObject> = (0..200)
            .map(|i| {
                node(
                    &format!("n{i}"),
                    "containerd://2.1",
                    json!({"pool": format!("p{}", i % 3)}),
                )
            })
            .collect();
        // One without the label that all others have.
        nodes[7].metadata.labels.remove("kubernetes.io/hostname");
        let snapshot = Snapshot::new(nodes);
        let host = "kubernetes.io/hostname";
        let is = |key: &str, operator: &str, values: Value| json!({"key": key, "operator": operator, "values": values});
        let expressions = |list: Value| json!({"matchExpressions": list});
        let fields = |operator: &str| json!({"matchFields": [is("metadata.name", operator, json!(["n1", "n9", "none"]))]});
        for terms in [
            json!([expressions(json!([is(
                host,
                "In",
                json!(["n4", "n5", "none"])
            )]))]),
            json!([expressions(json!([is(
                host,
                "NotIn",
                json!(["n4", "n5", "none"])
            )]))]),
            json!([expressions(json!([
                is(host, "NotIn", json!(["n4"])),
                is("pool", "In", json!(["p1"]))
            ]))]),
            json!([expressions(json!([
                is(host, "In", json!(["n4"])),
                is("pool", "In", json!(["p2"]))
            ]))]),
            json!([
                expressions(json!([is(host, "NotIn", json!(["n4"]))])),
                fields("In")
            ]),
            json!([fields("In")]),
            json!([fields("NotIn")]),
            json!([
                fields("NotIn"),
                expressions(json!([is("pool", "Exists", json!([]))]))
            ]),
            json!([expressions(json!([is(host, "Exists", json!([]))]))]),
            json!([expressions(json!([is(host, "DoesNotExist", json!([]))]))]),
            json!([expressions(json!([is(host, "Gt", json!(["4"]))]))]),
            json!([{}]),
        ] {
            let text = pod(&json!({"affinity": {"nodeAffinity":
                {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}));
            let pod = Pod::parse(text.as_bytes()).unwrap();
            let count = |found: Vec<GroupCount<'_>>| -> Vec<(String, usize)> {
                found
                    .iter()
                    .map(|c| (c.group.labels["pool"].clone(), c.nodes))
                    .collect()
            };
            let found = snapshot.candidates(&pod, &[]).found;
            assert_eq!(count(found), count(snapshot.find_by_node(&pod)), "{text}");
        }
    }

    #[test]
    fn equal_runtimes_agree_and_different_ones_do_not() {
        let labels = |pool: &str| json!({ "pool": pool });
        let snapshot = Snapshot::new([
            node("a", "containerd://2.1", labels("new")),
            node("b", "containerd://1.7", labels("new")),
            node("c", "docker://20.10", labels("old")),
        ]);
        assert_eq!(on(&snapshot, &json!({})).agreement(true), Agreement::Mixed);
        let new = on(&snapshot, &json!({"nodeSelector": {"pool": "new"}}));
        assert!(
            matches!(new.agreement(true), Agreement::On(facts) if facts.kind == RuntimeKind::Containerd)
        );
        let nowhere = on(&snapshot, &json!({"nodeSelector": {"pool": "none"}}));
        assert_eq!(nowhere.agreement(true), Agreement::None);
    }

    #[test]
    fn a_pod_is_pinned_only_by_a_label_that_separates_the_runtimes() {
        let apart = Snapshot::new([
            node("a", "containerd://2.1", json!({"pool": "new"})),
            node("b", "docker://20.10", json!({"pool": "old"})),
        ]);
        let pin = on(&apart, &json!({}))
            .pin_to(RuntimeKind::Containerd, true)
            .unwrap();
        assert_eq!(
            (pin.key.as_str(), pin.values.as_slice()),
            ("pool", &["new".to_owned()][..])
        );

        let mixed_pool = Snapshot::new([
            node("a", "containerd://2.1", json!({"pool": "x"})),
            node("b", "docker://20.10", json!({"pool": "x"})),
        ]);
        assert_eq!(
            on(&mixed_pool, &json!({})).pin_to(RuntimeKind::Containerd, true),
            None
        );
    }

    #[test]
    fn a_declared_pool_is_a_candidate_while_it_has_no_nodes() {
        let pools = [DeclaredPool::new(
            [("pool".to_owned(), "ci".to_owned())].into(),
            vec![],
            RuntimeKind::Containerd,
            None,
        )];
        let snapshot = Snapshot::default();
        let text = pod(&json!({"nodeSelector": {"pool": "ci"}}));
        let candidates = snapshot.candidates(&Pod::parse(text.as_bytes()).unwrap(), &pools);
        assert!(matches!(candidates.agreement(true), Agreement::On(facts)
            if facts.socket.as_deref() == Some("/run/containerd/containerd.sock")));
    }

    #[test]
    fn one_restricted_candidate_restricts_all() {
        let snapshot = Snapshot::new([
            node("a", "containerd://2.1", json!({})),
            node(
                "b",
                "containerd://2.1",
                json!({"eks.amazonaws.com/compute-type": "fargate"}),
            ),
        ]);
        assert_eq!(
            on(&snapshot, &json!({})).restriction(),
            Some(Restriction::Fargate)
        );
    }
}
