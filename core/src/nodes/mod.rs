//! The nodes of a cluster: which could run a pod, and what their runtimes have in common.
//!
//! A [`Snapshot`] is immutable and replaced whole; an [`Inventory`] makes the next one from the last.
//! Nodes that no placement could tell apart form one group, so that a look-up costs the same with
//! 10 nodes as with 100,000: it looks at groups. Labels that tell nearly every node apart, such as
//! `kubernetes.io/hostname`, stay out of the groups; a pod that names one of them, or a node, is
//! looked up by an index.

mod candidates;
mod declared_pools;
mod facts;
mod inventory;
mod placement;
mod shards;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use candidates::Candidate;
pub use candidates::{Agreement, Candidates, Pin};
pub use declared_pools::{PoolCount, PoolNodes};
pub use facts::{
    NodeObject, NodeSpec, NodeStatus, RUNTIME_LABEL, Restriction, RuntimeFacts, RuntimeKind, Taint,
};
pub use inventory::Inventory;
use placement::Place;
use shards::Shards;

use crate::pod::Pod;

type Labels = BTreeMap<String, String>;
/// The names of nodes, by the value of a label.
type NamesByValue = Shards<Box<[Arc<str>]>>;

/// Nodes that are alike, or a declared pool that may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Group {
    labels: Labels,
    taints: Vec<Taint>,
    unschedulable: bool,
    /// Whether the labels say that it runs Windows.
    windows: bool,
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
            windows: placement::is_windows(&labels),
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
            windows: self.windows,
        }
    }
}

/// A node, without its name: its own labels, and the place of its group.
#[derive(Debug, Clone)]
struct Member {
    own_labels: Box<[(Arc<str>, Arc<str>)]>,
    group: usize,
}

impl Member {
    fn label<'m>(&'m self, group: &'m Group, key: &str) -> Option<&'m str> {
        self.place("", group).label(key)
    }

    fn place<'m>(&'m self, name: &'m str, group: &'m Group) -> Place<'m> {
        Place {
            name: Some(name),
            own_labels: &self.own_labels,
            ..group.place()
        }
    }
}

/// A group, and how many nodes there are of it: none, once they are gone.
#[derive(Debug, Clone)]
struct Shared {
    group: Arc<Group>,
    nodes: usize,
}

/// All nodes at one moment. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    groups: Vec<Shared>,
    members: Shards<Member>,
    /// Of each own label, the names of the nodes by its value.
    own: BTreeMap<Arc<str>, NamesByValue>,
}

impl Snapshot {
    /// The snapshot of these nodes.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = NodeObject>) -> Self {
        let mut inventory = Inventory::default();
        inventory.replace(nodes);
        inventory.snapshot()
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many nodes run each kind of runtime.
    #[must_use]
    pub fn count_by_runtime(&self) -> BTreeMap<RuntimeKind, usize> {
        let mut counts = BTreeMap::new();
        for (group, nodes) in self.groups() {
            *counts.entry(group.facts.kind).or_default() += nodes;
        }
        counts
    }

    /// The nodes that could run `pod`, and the declared `pools` that could grow one.
    #[must_use]
    pub fn candidates<'s>(&'s self, pod: &Pod<'_>, pools: &'s [Group]) -> Candidates<'s> {
        let mut found = match self.singled_out(pod) {
            Some(names) => self.matching_groups(pod, &names),
            None => self.matching_members(pod),
        };
        // A pool that has nodes is known by those.
        let filled = |pool: &Group| self.has_node_with(&pool.labels);
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
        let facts = || self.groups().map(|(group, _)| &group.facts);
        // Autopilot is a property of the cluster; other restrictions are those of single nodes.
        let autopilot = facts().any(|facts| facts.restriction == Some(Restriction::Autopilot));
        (
            facts().filter_map(|facts| facts.kubelet_minor).min(),
            autopilot.then_some(Restriction::Autopilot),
        )
    }

    /// Whether a node has all of these labels.
    fn has_node_with(&self, labels: &Labels) -> bool {
        let own = labels.iter().find_map(|(key, value)| {
            let index = self.own.get(key.as_str())?;
            Some(index.get(value).into_iter().flatten())
        });
        let Some(names) = own else {
            let has = |group: &Group| labels.iter().all(|(k, v)| group.labels.get(k) == Some(v));
            return self.groups().any(|(group, _)| has(group));
        };
        names
            .filter_map(|name| self.members.get(name))
            .filter_map(|member| Some((member, self.group(member)?)))
            .any(|(member, group)| {
                labels
                    .iter()
                    .all(|(k, v)| member.label(group, k) == Some(v))
            })
    }

    /// The groups that have nodes.
    fn groups(&self) -> impl Iterator<Item = (&Group, usize)> {
        let filled = self.groups.iter().filter(|shared| shared.nodes > 0);
        filled.map(|shared| (&*shared.group, shared.nodes))
    }

    fn group(&self, member: &Member) -> Option<&Group> {
        Some(&*self.groups.get(member.group)?.group)
    }

    /// Group by group, and the few nodes of these names, which may differ from their groups.
    fn matching_groups(&self, pod: &Pod<'_>, names: &BTreeSet<&str>) -> Vec<Candidate<'_>> {
        let mut found: Vec<(&Group, bool, usize)> = Vec::with_capacity(self.groups.len());
        found.extend(self.groups.iter().map(|shared| {
            let fits = shared.nodes > 0 && placement::admits(pod, shared.group.place());
            (&*shared.group, fits, if fits { shared.nodes } else { 0 })
        }));
        let known = |name: &&str| self.members.get_key_value(name);
        for (name, member) in names.iter().filter_map(known) {
            if let Some((group, group_fits, nodes)) = found.get_mut(member.group) {
                let fits = placement::admits(pod, member.place(name, group));
                *nodes += usize::from(fits && !*group_fits);
                *nodes -= usize::from(*group_fits && !fits);
            }
        }
        let found = found.into_iter().filter(|(_, _, nodes)| *nodes > 0);
        found
            .map(|(group, _, nodes)| Candidate { group, nodes })
            .collect()
    }

    /// Node by node.
    fn matching_members(&self, pod: &Pod<'_>) -> Vec<Candidate<'_>> {
        let mut counts: BTreeMap<usize, (&Group, usize)> = BTreeMap::new();
        for (name, member) in self.members.iter() {
            if let Some(group) = self.group(member)
                && placement::admits(pod, member.place(name, group))
            {
                counts.entry(member.group).or_insert((group, 0)).1 += 1;
            }
        }
        let found = counts.into_values();
        found
            .map(|(group, nodes)| Candidate { group, nodes })
            .collect()
    }

    fn singled_out<'p>(&'p self, pod: &'p Pod<'_>) -> Option<BTreeSet<&'p str>> {
        placement::singled_out(pod, |key, value| {
            let names = self.own.get(key)?.get(value);
            Some(names.into_iter().flatten().map(|name| &**name))
        })
    }
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
        assert_eq!(snapshot.groups().count(), 8);
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
    fn groups_and_the_nodes_singled_out_answer_as_all_nodes_one_by_one_would() {
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
            let count = |found: Vec<Candidate<'_>>| -> Vec<(String, usize)> {
                found
                    .iter()
                    .map(|c| (c.group.labels["pool"].clone(), c.nodes))
                    .collect()
            };
            let found = snapshot.candidates(&pod, &[]).found;
            assert_eq!(
                count(found),
                count(snapshot.matching_members(&pod)),
                "{text}"
            );
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
