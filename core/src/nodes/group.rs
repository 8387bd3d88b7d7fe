//! Groups: nodes that no pod could tell apart but by name or by an individual label.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{NodeObject, RuntimeFacts, Taint};

const OS_LABEL: &str = "kubernetes.io/os";

/// Labels by key.
pub(super) type Labels = BTreeMap<String, String>;

/// What nodes that are alike have in common, or what a policy declares of a node pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Group {
    pub labels: Labels,
    pub traits: Traits,
    /// True when the labels say that the nodes run Windows.
    pub is_windows: bool,
}

/// What decides about pods on a node, apart from its labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Traits {
    /// Sorted, so that the order in which a node lists them does not matter.
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub runtime: RuntimeFacts,
}

impl Traits {
    /// Reads them from a node.
    pub(super) fn of(node: &NodeObject) -> Self {
        let mut taints = node.spec.taints.clone();
        taints.sort();
        Self {
            taints,
            unschedulable: node.spec.unschedulable,
            runtime: RuntimeFacts::of(node),
        }
    }
}

impl Group {
    pub(super) fn new(labels: Labels, traits: Traits) -> Self {
        Self {
            is_windows: labels.get(OS_LABEL).is_some_and(|os| os == "windows"),
            labels,
            traits,
        }
    }

    /// Returns what the group's nodes say of their runtime.
    pub(super) fn runtime(&self) -> &RuntimeFacts {
        &self.traits.runtime
    }

    /// Returns whether the group has all of these labels.
    pub(super) fn has_labels(&self, labels: &Labels) -> bool {
        labels
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

/// Some nodes of a group; none for a declared pool, and for a group whose nodes are gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupCount<'s> {
    pub group: &'s Group,
    pub nodes: usize,
}

/// The position of a group in a [`GroupTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupId(usize);

impl GroupId {
    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// The groups of a snapshot. A slot whose nodes are gone stays until another group takes it, so that
/// ids remain valid.
#[derive(Debug, Clone, Default)]
pub(super) struct GroupTable {
    slots: Vec<Slot>,
}

#[derive(Debug, Clone)]
struct Slot {
    group: Arc<Group>,
    nodes: usize,
}

impl GroupTable {
    pub(super) fn get(&self, id: GroupId) -> Option<&Group> {
        self.slots.get(id.0).map(|slot| &*slot.group)
    }

    /// Returns all slots in the order of their ids, the empty ones included.
    pub(super) fn slots(&self) -> impl ExactSizeIterator<Item = GroupCount<'_>> {
        self.slots.iter().map(|slot| GroupCount {
            group: &slot.group,
            nodes: slot.nodes,
        })
    }

    /// Returns the groups that have nodes.
    pub(super) fn filled(&self) -> impl Iterator<Item = GroupCount<'_>> {
        self.slots().filter(|slot| slot.nodes > 0)
    }
}

/// The index that adds nodes to the groups of a [`GroupTable`] and takes them out.
#[derive(Debug, Clone, Default)]
pub(super) struct GroupIndex {
    ids: HashMap<Arc<Group>, GroupId>,
    empty: Vec<GroupId>,
}

impl GroupIndex {
    /// Counts one more node of `group` and returns the group's id.
    pub(super) fn add_node(&mut self, table: &mut GroupTable, group: Group) -> GroupId {
        if let Some(id) = self.ids.get(&group).copied() {
            if let Some(slot) = table.slots.get_mut(id.0) {
                slot.nodes += 1;
            }
            return id;
        }
        let group = Arc::new(group);
        let slot = Slot {
            group: Arc::clone(&group),
            nodes: 1,
        };
        let id = self.fill(table, slot);
        self.ids.insert(group, id);
        id
    }

    /// Counts one node less and returns the group that it belonged to.
    pub(super) fn remove_node(
        &mut self,
        table: &mut GroupTable,
        id: GroupId,
    ) -> Option<Arc<Group>> {
        let slot = table.slots.get_mut(id.0)?;
        slot.nodes -= 1;
        if slot.nodes == 0 {
            self.ids.remove(&slot.group);
            self.empty.push(id);
        }
        Some(Arc::clone(&slot.group))
    }

    /// Fills an empty slot, or a new one.
    fn fill(&mut self, table: &mut GroupTable, filled: Slot) -> GroupId {
        if let Some(id) = self.empty.pop()
            && let Some(slot) = table.slots.get_mut(id.0)
        {
            *slot = filled;
            return id;
        }
        table.slots.push(filled);
        GroupId(table.slots.len() - 1)
    }
}
