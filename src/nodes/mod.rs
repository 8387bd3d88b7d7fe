//! The nodes of a cluster: which could run a pod, and what their runtimes have in common.
//!
//! A [`Snapshot`] is immutable and replaced whole. Nodes that no placement could tell apart form
//! one group, so that a look-up costs the same with 10 nodes as with 100,000: it looks at groups.
//! Labels that tell nearly every node apart, such as `kubernetes.io/hostname`, stay out of the
//! groups; only a pod that names one of them, or a node, is looked up node by node.

mod candidates;
mod facts;
mod inventory;
mod placement;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use candidates::Candidate;
pub use candidates::{Agreement, Candidates, Pin};
pub use facts::{
    NodeObject, NodeSpec, NodeStatus, RUNTIME_LABEL, Restriction, RuntimeFacts, RuntimeKind, Taint,
};
pub use inventory::Inventory;
use placement::Place;

use crate::pod::Pod;

/// A label counts as a node's own when it has more values than this …
const OWN_LABEL_MIN_VALUES: usize = 32;
/// … and more than one value for this many nodes.
const OWN_LABEL_NODES_PER_VALUE: usize = 8;

/// Nodes that are alike, or a declared pool that may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Group {
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    unschedulable: bool,
    facts: RuntimeFacts,
}

impl Group {
    /// A pool that a policy declares.
    #[must_use]
    pub fn declared(
        labels: BTreeMap<String, String>,
        taints: Vec<Taint>,
        kind: RuntimeKind,
        socket: Option<String>,
    ) -> Self {
        let facts = RuntimeFacts {
            kind,
            socket: socket.or_else(|| kind.usual_socket().map(str::to_owned)),
            restriction: None,
            kubelet_minor: None,
        };
        Self {
            labels,
            taints,
            unschedulable: false,
            facts,
        }
    }

    fn place(&self) -> Place<'_> {
        Place {
            name: None,
            labels: &self.labels,
            own_labels: &[],
            taints: &self.taints,
            unschedulable: self.unschedulable,
        }
    }
}

/// A node: its name, its own labels, and the rest in its group.
#[derive(Debug, Clone)]
struct Member {
    name: Box<str>,
    own_labels: Box<[(Arc<str>, Box<str>)]>,
    group: usize,
}

/// All nodes at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    groups: Vec<(Group, usize)>,
    members: Vec<Member>,
    own_keys: HashSet<Arc<str>>,
}

impl Snapshot {
    /// The snapshot of these nodes.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = NodeObject>) -> Self {
        let nodes: Vec<NodeObject> = nodes.into_iter().collect();
        let own_keys = own_label_keys(&nodes);
        let mut indices: HashMap<Group, usize> = HashMap::new();
        let mut counts: Vec<usize> = Vec::new();
        let mut members = Vec::with_capacity(nodes.len());
        for node in nodes {
            let facts = RuntimeFacts::of(&node);
            let (own, labels): (BTreeMap<_, _>, BTreeMap<_, _>) = node
                .metadata
                .labels
                .into_iter()
                .partition(|(key, _)| own_keys.contains(key.as_str()));
            let mut taints = node.spec.taints;
            taints.sort();
            let group = Group {
                labels,
                taints,
                unschedulable: node.spec.unschedulable,
                facts,
            };
            let index = *indices.entry(group).or_insert_with(|| {
                counts.push(0);
                counts.len() - 1
            });
            if let Some(count) = counts.get_mut(index) {
                *count += 1;
            }
            members.push(Member {
                name: node.metadata.name.into(),
                own_labels: own
                    .into_iter()
                    .filter_map(|(key, value)| {
                        Some((own_keys.get(key.as_str())?.clone(), value.into()))
                    })
                    .collect(),
                group: index,
            });
        }
        let mut groups: Vec<(usize, Group)> = indices.into_iter().map(|(g, i)| (i, g)).collect();
        groups.sort_by_key(|(index, _)| *index);
        Self {
            groups: groups.into_iter().map(|(_, g)| g).zip(counts).collect(),
            members,
            own_keys,
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many nodes run each kind of runtime.
    #[must_use]
    pub fn count_by_runtime(&self) -> BTreeMap<RuntimeKind, usize> {
        let mut counts = BTreeMap::new();
        for (group, count) in &self.groups {
            *counts.entry(group.facts.kind).or_default() += count;
        }
        counts
    }

    /// The nodes that could run `pod`, and the declared `pools` that could grow one.
    #[must_use]
    pub fn candidates<'s>(&'s self, pod: &Pod<'_>, pools: &'s [Group]) -> Candidates<'s> {
        let per_node = placement::names_nodes(pod)
            || placement::label_keys(pod).any(|key| self.own_keys.contains(key));
        let mut found = if per_node {
            self.matching_members(pod)
        } else {
            self.matching_groups(pod)
        };
        // A pool that has nodes is known by those.
        let filled = |pool: &Group| {
            let has = |group: &Group| {
                pool.labels
                    .iter()
                    .all(|(k, v)| group.labels.get(k) == Some(v))
            };
            self.groups.iter().any(|(group, _)| has(group))
        };
        let declared = pools
            .iter()
            .filter(|pool| placement::admits(pod, pool.place()) && !filled(pool))
            .map(|group| Candidate { group, nodes: 0 });
        found.extend(declared);
        Candidates {
            found,
            known: self.members.len(),
            fallback: self.fallback(),
        }
    }

    fn fallback(&self) -> (Option<u32>, Option<Restriction>) {
        let facts = || self.groups.iter().map(|(group, _)| &group.facts);
        // Autopilot is a property of the cluster; other restrictions are those of single nodes.
        let autopilot = facts().any(|facts| facts.restriction == Some(Restriction::Autopilot));
        (
            facts().filter_map(|facts| facts.kubelet_minor).min(),
            autopilot.then_some(Restriction::Autopilot),
        )
    }

    fn matching_groups(&self, pod: &Pod<'_>) -> Vec<Candidate<'_>> {
        self.groups
            .iter()
            .filter(|(group, _)| placement::admits(pod, group.place()))
            .map(|(group, count)| Candidate {
                group,
                nodes: *count,
            })
            .collect()
    }

    fn matching_members(&self, pod: &Pod<'_>) -> Vec<Candidate<'_>> {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for member in &self.members {
            let Some((group, _)) = self.groups.get(member.group) else {
                continue;
            };
            let place = Place {
                name: Some(&member.name),
                own_labels: &member.own_labels,
                ..group.place()
            };
            if placement::admits(pod, place) {
                *counts.entry(member.group).or_default() += 1;
            }
        }
        counts
            .into_iter()
            .filter_map(|(index, nodes)| {
                let (group, _) = self.groups.get(index)?;
                Some(Candidate { group, nodes })
            })
            .collect()
    }
}

/// The keys of labels that tell nearly every node apart.
fn own_label_keys(nodes: &[NodeObject]) -> HashSet<Arc<str>> {
    let mut values: HashMap<&str, (HashSet<&str>, usize)> = HashMap::new();
    for (key, value) in nodes.iter().flat_map(|node| &node.metadata.labels) {
        let (distinct, carriers) = values.entry(key).or_default();
        distinct.insert(value);
        *carriers += 1;
    }
    values
        .into_iter()
        .filter(|(_, (distinct, carriers))| {
            distinct.len() > OWN_LABEL_MIN_VALUES
                && distinct.len() * OWN_LABEL_NODES_PER_VALUE > *carriers
        })
        .map(|(key, _)| Arc::from(key))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

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
    fn a_thousand_nodes_of_eight_pools_are_eight_groups() {
        let snapshot = fleet(1000);
        assert_eq!(snapshot.len(), 1000);
        assert_eq!(snapshot.groups.len(), 8);
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
    fn a_pod_is_pinned_only_by_a_label_that_tells_the_runtimes_apart() {
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
    fn a_declared_pool_counts_where_no_node_is_up() {
        let pools = [Group::declared(
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
