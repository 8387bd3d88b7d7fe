//! Individual labels: those that tell nearly every node apart, such as `kubernetes.io/hostname`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{group::Labels, pool_labels::pinning_labels, sharded_map::ShardedMap};

/// A label becomes individual when it has more values than this …
const MIN_VALUES: usize = 32;
/// … and more than one value for this many nodes.
const NODES_PER_VALUE: usize = 8;
/// An individual label becomes shared again only when it has half as many values, so that no label
/// alternates.
const SLACK: usize = 2;

/// A label of one node, kept outside of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndividualLabel {
    pub key: Arc<str>,
    pub value: Arc<str>,
}

/// A node's labels, split by where they are kept.
pub(super) struct SplitLabels {
    pub shared: Labels,
    pub individual: Box<[IndividualLabel]>,
}

/// An index of the nodes by key and value of their individual labels.
#[derive(Debug, Clone, Default)]
pub(super) struct IndividualLabels {
    by_key: BTreeMap<Arc<str>, NamesByValue>,
}

type NamesByValue = ShardedMap<Box<[Arc<str>]>>;

impl IndividualLabels {
    /// Finds the individual labels among those of all nodes. Their index is still empty.
    pub(super) fn of<'l>(nodes: impl Iterator<Item = &'l Labels>) -> Self {
        #[derive(Default)]
        struct Usage<'l> {
            values: HashSet<&'l str>,
            nodes: usize,
        }
        let mut usages: HashMap<&str, Usage<'_>> = HashMap::new();
        for (key, value) in nodes.flatten().filter(|(key, _)| may_be_individual(key)) {
            let usage = usages.entry(key).or_default();
            usage.values.insert(value);
            usage.nodes += 1;
        }
        let individual = usages
            .into_iter()
            .filter(|(_, usage)| tells_nodes_apart(usage.values.len(), usage.nodes));
        Self {
            by_key: individual
                .map(|(key, _)| (Arc::from(key), NamesByValue::default()))
                .collect(),
        }
    }

    /// Returns whether no label is individual.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Returns whether the label is individual.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// Returns the names of the nodes with this label; `None` when the label is not individual.
    pub(super) fn nodes_with<'s>(
        &'s self,
        key: &str,
        value: &str,
    ) -> Option<impl Iterator<Item = &'s str> + use<'s>> {
        let names = self.by_key.get(key)?.get(value);
        Some(names.into_iter().flatten().map(|name| &**name))
    }

    /// Splits the labels of the node `name`.
    pub(super) fn split(&self, labels: Labels, name: &Arc<str>) -> SplitLabels {
        let (mut shared, mut individual) = (Labels::new(), Vec::new());
        for (key, value) in labels {
            let Some((key, names)) = self.by_key.get_key_value(key.as_str()) else {
                shared.insert(key, value);
                continue;
            };
            // A hostname usually equals the node's name: one allocation serves both.
            let value = match names.get_key_value(&value) {
                Some((known, _)) => Arc::clone(known),
                None if *value == **name => Arc::clone(name),
                None => Arc::from(value),
            };
            let key = Arc::clone(key);
            individual.push(IndividualLabel { key, value });
        }
        SplitLabels {
            shared,
            individual: individual.into(),
        }
    }

    /// Adds the node `name` to the index under one of its labels.
    pub(super) fn insert(&mut self, label: &IndividualLabel, name: &Arc<str>) {
        if let Some(names) = self.by_key.get_mut(&label.key) {
            let others = names.get(&label.value).into_iter().flatten();
            let all = others.chain([name]).cloned().collect();
            names.insert(Arc::clone(&label.value), all);
        }
    }

    /// Removes the node `name` from the index under one of its labels.
    pub(super) fn remove(&mut self, label: &IndividualLabel, name: &str) {
        let Some(names) = self.by_key.get_mut(&label.key) else {
            return;
        };
        let of_value = names.get(&label.value).into_iter().flatten();
        let others: Box<[Arc<str>]> = of_value
            .filter(|other| ***other != *name)
            .cloned()
            .collect();
        if others.is_empty() {
            names.remove(&label.value);
        } else {
            names.insert(Arc::clone(&label.value), others);
        }
    }
}

/// Counts of how labels are used, which tell when one becomes individual, or shared again.
#[derive(Debug, Clone, Default)]
pub(super) struct LabelUsage {
    by_key: HashMap<Arc<str>, KeyUsage>,
}

#[derive(Debug, Clone, Default)]
struct KeyUsage {
    /// How many nodes have the label.
    nodes: usize,
    /// How many nodes have each value. Empty for individual labels, whose index knows it.
    by_value: HashMap<Box<str>, usize>,
}

impl LabelUsage {
    /// Counts the labels of one more node.
    pub(super) fn add(&mut self, labels: &Labels, individual: &IndividualLabels) {
        for (key, value) in labels {
            if !self.by_key.contains_key(key.as_str()) {
                self.by_key.insert(key.as_str().into(), KeyUsage::default());
            }
            let Some(usage) = self.by_key.get_mut(key.as_str()) else {
                continue;
            };
            usage.nodes += 1;
            if individual.contains(key) {
                continue;
            }
            if let Some(nodes) = usage.by_value.get_mut(value.as_str()) {
                *nodes += 1;
            } else {
                usage.by_value.insert(value.as_str().into(), 1);
            }
        }
    }

    /// Counts the labels of one node less.
    pub(super) fn remove(&mut self, labels: &Labels) {
        for (key, value) in labels {
            let Some(usage) = self.by_key.get_mut(key.as_str()) else {
                continue;
            };
            usage.nodes -= 1;
            if let Some(nodes) = usage.by_value.get_mut(value.as_str()) {
                *nodes -= 1;
                if *nodes == 0 {
                    usage.by_value.remove(value.as_str());
                }
            }
            if usage.nodes == 0 {
                self.by_key.remove(key.as_str());
            }
        }
    }

    /// Returns whether the label is individual and should be shared, or the reverse.
    pub(super) fn is_misplaced(&self, key: &str, individual: &IndividualLabels) -> bool {
        let usage = self.by_key.get(key);
        match individual.by_key.get(key) {
            Some(names) => {
                let nodes = usage.map_or(0, |usage| usage.nodes);
                !tells_nodes_apart(SLACK * names.len(), nodes)
            }
            None => usage.is_some_and(|usage| {
                may_be_individual(key) && tells_nodes_apart(usage.by_value.len(), usage.nodes)
            }),
        }
    }
}

/// Returns whether a label with this many values on this many nodes tells nearly every node apart.
fn tells_nodes_apart(values: usize, nodes: usize) -> bool {
    values > MIN_VALUES && values * NODES_PER_VALUE > nodes
}

/// Returns whether a label may leave the groups. Those by which pods are pinned never do, however
/// small the node pools are.
fn may_be_individual(key: &str) -> bool {
    pinning_labels().all(|label| label != key)
}
