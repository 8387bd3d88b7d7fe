//! The nodes as they come and go; gives the snapshots.
//!
//! A change costs the same with 10 nodes as with 100,000: it touches one node, its group, and one
//! piece of each map. Only when a label turns out to tell nearly every node apart, or no longer to,
//! is everything grouped anew.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{
    Group, Labels, Member, NamesByValue, NodeObject, RuntimeFacts, Shared, Snapshot,
    candidates::pool_labels, placement,
};

/// A label becomes a node's own when it has more values than this …
const OWN_MIN_VALUES: usize = 32;
/// … and more than one value for this many nodes.
const OWN_NODES_PER_VALUE: usize = 8;
/// It is shared again when it has half as many: no label goes to and fro.
const SLACK: usize = 2;

/// All nodes that are there now. Changes say whether they mean anything: what the kubelet reports
/// every few minutes to show that it lives does not.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    snapshot: Snapshot,
    /// Where each group is in the snapshot's list.
    places: HashMap<Arc<Group>, usize>,
    /// Places of groups that have no nodes any more.
    free: Vec<usize>,
    /// All label keys.
    keys: HashMap<Arc<str>, Key>,
}

/// What is known of a label key.
#[derive(Debug, Clone, Default)]
struct Key {
    /// How many nodes have it.
    carriers: usize,
    /// How many nodes have which value. Empty for own labels, which the snapshot indexes.
    values: HashMap<Box<str>, usize>,
}

/// A node, its labels apart from the rest.
struct Described {
    name: Arc<str>,
    labels: Labels,
    /// The rest, in a group without labels.
    rest: Group,
}

impl Described {
    fn of(node: NodeObject) -> Self {
        let facts = RuntimeFacts::of(&node);
        let mut taints = node.spec.taints;
        taints.sort();
        Self {
            name: node.metadata.name.into(),
            labels: node.metadata.labels,
            rest: Group {
                labels: Labels::new(),
                taints,
                unschedulable: node.spec.unschedulable,
                windows: false,
                facts,
            },
        }
    }

    /// What is kept of a node as it was described.
    fn again(name: &Arc<str>, member: &Member, group: &Group) -> Self {
        let mut labels = group.labels.clone();
        for (key, value) in &member.own_labels {
            labels.insert(key.to_string(), value.to_string());
        }
        Self {
            name: Arc::clone(name),
            labels,
            rest: Group {
                labels: Labels::new(),
                ..group.clone()
            },
        }
    }
}

impl Inventory {
    /// Takes a node that is new or different. Whether that means anything.
    pub fn apply(&mut self, node: NodeObject) -> bool {
        let node = Described::of(node);
        if self.knows(&node) {
            return false;
        }
        let mut touched: Vec<Arc<str>> = Vec::new();
        if let Some(before) = self.take_out(&node.name) {
            touched.extend(before.labels.keys().map(|key| Arc::from(key.as_str())));
        }
        touched.extend(node.labels.keys().map(|key| Arc::from(key.as_str())));
        self.put_in(node);
        self.regroup_if_needed(&touched);
        true
    }

    /// Takes a node away. Whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(node) = self.take_out(name) else {
            return false;
        };
        let touched: Vec<Arc<str>> = node.labels.into_keys().map(Arc::from).collect();
        self.regroup_if_needed(&touched);
        true
    }

    /// Takes these nodes as all there are; of two with one name the later counts. Whether that means
    /// anything.
    pub fn replace(&mut self, nodes: impl IntoIterator<Item = NodeObject>) -> bool {
        let nodes: BTreeMap<Arc<str>, Described> = nodes
            .into_iter()
            .map(Described::of)
            .map(|node| (Arc::clone(&node.name), node))
            .collect();
        if nodes.len() == self.snapshot.len() && nodes.values().all(|node| self.knows(node)) {
            return false;
        }
        self.group(nodes.into_values().collect());
        true
    }

    /// Takes the nodes of another one as all there are. Whether that means anything.
    pub fn replace_by(&mut self, all: Self) -> bool {
        if self.has_the_nodes_of(&all) {
            return false;
        }
        *self = all;
        true
    }

    fn has_the_nodes_of(&self, other: &Self) -> bool {
        let is_known = |(name, member): (&Arc<str>, &Member)| {
            let node = other.describe(name, member);
            node.is_some_and(|node| self.knows(&node))
        };
        self.snapshot.len() == other.snapshot.len() && other.snapshot.members.iter().all(is_known)
    }

    /// The nodes as they are now. Cheap: it shares everything with the inventory.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    fn knows(&self, node: &Described) -> bool {
        let known = || {
            let member = self.snapshot.members.get(&node.name)?;
            let group = self.snapshot.group(member)?;
            let same_rest = group.taints == node.rest.taints
                && group.unschedulable == node.rest.unschedulable
                && group.facts == node.rest.facts;
            let labels = group.labels.len() + member.own_labels.len();
            let has = |(key, value): (&String, &String)| member.label(group, key) == Some(value);
            Some(same_rest && labels == node.labels.len() && node.labels.iter().all(has))
        };
        known().unwrap_or(false)
    }

    fn put_in(&mut self, node: Described) {
        let Described { name, labels, rest } = node;
        let (mut own, mut shared) = (Vec::new(), Labels::new());
        for (key, value) in labels {
            self.count(&key, &value);
            let Some((key, index)) = self.snapshot.own.get_key_value(key.as_str()) else {
                shared.insert(key, value);
                continue;
            };
            // A hostname is the node's name mostly: one text serves for both.
            let value = match index.get_key_value(&value) {
                Some((known, _)) => Arc::clone(known),
                None if *value == *name => Arc::clone(&name),
                None => Arc::from(value),
            };
            own.push((Arc::clone(key), value));
        }
        for (key, value) in &own {
            self.index(key, value, &name);
        }
        let group = self.place(Group {
            windows: placement::is_windows(&shared),
            labels: shared,
            ..rest
        });
        let member = Member {
            group,
            own_labels: own.into(),
        };
        self.snapshot.members.insert(name, member);
    }

    fn take_out(&mut self, name: &str) -> Option<Described> {
        let (name, member) = self.snapshot.members.remove(name)?;
        let shared = self.snapshot.groups.get_mut(member.group)?;
        shared.nodes -= 1;
        let group = Arc::clone(&shared.group);
        if shared.nodes == 0 {
            self.places.remove(&group);
            self.free.push(member.group);
        }
        let node = Described::again(&name, &member, &group);
        for (key, value) in &member.own_labels {
            self.unindex(key, value, &name);
        }
        for (key, value) in &node.labels {
            self.uncount(key, value);
        }
        Some(node)
    }

    fn describe(&self, name: &Arc<str>, member: &Member) -> Option<Described> {
        let group = self.snapshot.group(member)?;
        Some(Described::again(name, member, group))
    }

    /// The place of the group, with one node more.
    fn place(&mut self, group: Group) -> usize {
        if let Some(place) = self.places.get(&group).copied() {
            if let Some(shared) = self.snapshot.groups.get_mut(place) {
                shared.nodes += 1;
            }
            return place;
        }
        let group = Arc::new(group);
        let shared = Shared {
            group: Arc::clone(&group),
            nodes: 1,
        };
        let place = if let Some(place) = self.free.pop() {
            if let Some(free) = self.snapshot.groups.get_mut(place) {
                *free = shared;
            }
            place
        } else {
            self.snapshot.groups.push(shared);
            self.snapshot.groups.len() - 1
        };
        self.places.insert(group, place);
        place
    }

    fn count(&mut self, key: &str, value: &str) {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.into(), Key::default());
        }
        let Some(known) = self.keys.get_mut(key) else {
            return;
        };
        known.carriers += 1;
        if self.snapshot.own.contains_key(key) {
            return;
        }
        if let Some(count) = known.values.get_mut(value) {
            *count += 1;
        } else {
            known.values.insert(value.into(), 1);
        }
    }

    fn uncount(&mut self, key: &str, value: &str) {
        let Some(known) = self.keys.get_mut(key) else {
            return;
        };
        known.carriers -= 1;
        if let Some(count) = known.values.get_mut(value) {
            *count -= 1;
            if *count == 0 {
                known.values.remove(value);
            }
        }
        if known.carriers == 0 {
            self.keys.remove(key);
        }
    }

    fn index(&mut self, key: &str, value: &Arc<str>, name: &Arc<str>) {
        if let Some(index) = self.snapshot.own.get_mut(key) {
            let others = index.get(value).into_iter().flatten();
            let names = others.chain([name]).cloned().collect();
            index.insert(Arc::clone(value), names);
        }
    }

    fn unindex(&mut self, key: &str, value: &Arc<str>, name: &str) {
        let Some(index) = self.snapshot.own.get_mut(key) else {
            return;
        };
        let others = index.get(value).into_iter().flatten();
        let names: Box<[Arc<str>]> = others.filter(|other| ***other != *name).cloned().collect();
        if names.is_empty() {
            index.remove(value);
        } else {
            index.insert(Arc::clone(value), names);
        }
    }

    fn regroup_if_needed(&mut self, touched: &[Arc<str>]) {
        if touched.iter().any(|key| self.is_misplaced(key)) {
            let names: Vec<Arc<str>> = self
                .snapshot
                .members
                .iter()
                .map(|(n, _)| n.clone())
                .collect();
            let nodes = names
                .iter()
                .filter_map(|name| self.take_out(name))
                .collect();
            self.group(nodes);
        }
    }

    fn is_misplaced(&self, key: &str) -> bool {
        let known = self.keys.get(key);
        match self.snapshot.own.get(key) {
            Some(index) => {
                let carriers = known.map_or(0, |known| known.carriers);
                !tells_apart(SLACK * index.len(), carriers)
            }
            None => known.is_some_and(|known| {
                may_be_own(key) && tells_apart(known.values.len(), known.carriers)
            }),
        }
    }

    /// Groups these nodes, and forgets all others.
    fn group(&mut self, nodes: Vec<Described>) {
        *self = Self::default();
        for key in own_keys(&nodes) {
            self.snapshot.own.insert(key, NamesByValue::default());
        }
        for node in nodes {
            self.put_in(node);
        }
    }
}

/// Whether a label with so many values on so many nodes tells nearly every node apart.
fn tells_apart(values: usize, carriers: usize) -> bool {
    values > OWN_MIN_VALUES && values * OWN_NODES_PER_VALUE > carriers
}

/// Labels by which pods may be pinned stay with the groups, however small the pools are.
fn may_be_own(key: &str) -> bool {
    pool_labels().all(|label| label != key)
}

/// The keys of labels that tell nearly every node apart.
fn own_keys(nodes: &[Described]) -> Vec<Arc<str>> {
    let mut keys: HashMap<&str, (HashSet<&str>, usize)> = HashMap::new();
    let labels = nodes.iter().flat_map(|node| &node.labels);
    for (key, value) in labels.filter(|(key, _)| may_be_own(key)) {
        let (values, carriers) = keys.entry(key).or_default();
        values.insert(value);
        *carriers += 1;
    }
    keys.into_iter()
        .filter(|(_, (values, carriers))| tells_apart(values.len(), *carriers))
        .map(|(key, _)| Arc::from(key))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{nodes::RuntimeKind, pod::Pod};

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
    fn only_what_decides_is_a_change() {
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
    fn the_same_list_again_is_no_change() {
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
        assert!(!inventory.replace_by(listed(199, 0)));
        assert!(inventory.replace_by(listed(199, 1)));
        assert!(inventory.replace_by(listed(198, 2)));
        assert_eq!(inventory.snapshot().len(), 198);
    }

    #[test]
    fn a_label_becomes_a_nodes_own_as_nodes_come_and_shared_as_they_go() {
        let mut inventory = Inventory::default();
        let groups = |inventory: &Inventory| {
            let snapshot = inventory.snapshot();
            snapshot
                .groups
                .iter()
                .filter(|shared| shared.nodes > 0)
                .count()
        };
        for i in 0..300 {
            inventory.apply(numbered(i, i % 3));
        }
        assert_eq!(groups(&inventory), 3, "a group a pool");
        for i in 10..300 {
            inventory.remove(&format!("n{i}"));
        }
        assert_eq!(groups(&inventory), 10, "a group a node");
        assert!(inventory.snapshot().own.is_empty());
    }

    #[test]
    fn small_pools_can_be_pinned_to_and_count_as_filled() {
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
        assert!(snapshot.own.contains_key("team"));
        let pod = Pod::parse(b"{}").unwrap();
        let pin = snapshot
            .candidates(&pod, &[])
            .pin_to(RuntimeKind::Containerd, true);
        assert_eq!(pin.unwrap().key, "agentpool");

        let pool = |team: &str| {
            let labels = [("team".to_owned(), team.to_owned())].into();
            [Group::declared(labels, vec![], RuntimeKind::CriO, None)]
        };
        let empty = |team| {
            let pools = pool(team);
            let candidates = snapshot.candidates(&pod, &pools);
            candidates
                .found
                .iter()
                .any(|candidate| candidate.nodes == 0)
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

        /// Whatever came and went: the answers are those of the nodes that are there.
        #[test]
        fn an_inventory_answers_as_a_new_one_would(
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
