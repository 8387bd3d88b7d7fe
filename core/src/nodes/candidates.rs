//! The nodes that could run a pod, and what they agree on.

use std::collections::BTreeSet;

use super::{
    Restriction, RuntimeFacts, RuntimeKind, RuntimeSummary,
    group::GroupCount,
    pool_labels::pinning_labels,
    scheduling::{self, Target},
};
use crate::pod::NodeSelectorTerm;

/// The nodes that could run a pod.
#[derive(Debug, Clone)]
pub struct Candidates<'s> {
    /// By group; a declared pool has no nodes.
    pub(super) found: Vec<GroupCount<'s>>,
    pub(super) cluster: ClusterFacts,
}

/// What is known of the cluster as a whole. It counts where no candidate says more.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClusterFacts {
    /// How many nodes there are.
    pub nodes: usize,
    pub lowest_kubelet_minor: Option<u32>,
    /// What restricts the nodes that the cluster will add.
    pub restriction: Option<Restriction>,
}

/// What the candidates have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement<'s> {
    /// There are no candidates.
    None,
    /// All have this runtime and this socket.
    On(&'s RuntimeFacts),
    /// They differ.
    Mixed,
}

/// A label whose values separate the wanted candidates from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The label's key.
    pub key: String,
    /// The values that the wanted nodes have.
    pub values: Vec<String>,
    /// What those nodes agree on.
    pub facts: RuntimeFacts,
}

impl<'s> Candidates<'s> {
    /// Returns what they have in common: the kind, the restriction, and, where `sockets_matter`, the
    /// socket. The facts are those of the first candidate.
    #[must_use]
    pub fn agreement(&self, sockets_matter: bool) -> Agreement<'s> {
        let key = |facts: &'s RuntimeFacts| {
            let socket = facts.socket.as_deref().filter(|_| sockets_matter);
            (facts.kind, facts.restriction, socket)
        };
        let mut all = self.runtimes();
        let Some(first) = all.next() else {
            return Agreement::None;
        };
        if all.all(|facts| key(facts) == key(first)) {
            Agreement::On(first)
        } else {
            Agreement::Mixed
        }
    }

    /// Returns what forbids host access on at least one of them.
    #[must_use]
    pub fn restriction(&self) -> Option<Restriction> {
        let restrictions = self.runtimes().filter_map(|facts| facts.restriction);
        let of_cluster = || self.cluster.restriction.filter(|_| self.nodes() == 0);
        restrictions.min().or_else(of_cluster)
    }

    /// Returns the lowest minor version of their kubelets, or of all kubelets, if known.
    #[must_use]
    pub fn kubelet_minor(&self) -> Option<u32> {
        let minors = self.runtimes().filter_map(|facts| facts.kubelet_minor);
        minors.min().or(self.cluster.lowest_kubelet_minor)
    }

    /// Returns the number of nodes. Declared pools have none.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.found.iter().map(|found| found.nodes).sum()
    }

    /// Returns how many nodes the cluster has.
    #[must_use]
    pub fn known_nodes(&self) -> usize {
        self.cluster.nodes
    }

    /// Returns whether one of them can reach a volume with these terms of node affinity. Individual
    /// labels are ignored, so a volume that only one node can reach counts as out of reach.
    #[must_use]
    pub fn reach(&self, terms: &[NodeSelectorTerm<'_>]) -> bool {
        self.found.iter().any(|found| {
            let target = Target::group(found.group);
            terms
                .iter()
                .any(|term| scheduling::term_matches(term, target))
        })
    }

    /// Counts them by runtime, for people.
    #[must_use]
    pub fn summary(&self) -> RuntimeSummary {
        let runtimes = self.found.iter();
        runtimes
            .map(|found| (found.group.runtime(), found.nodes))
            .collect()
    }

    /// Returns a label by which the pod can be pinned to the unrestricted nodes of the runtime
    /// `kind`, if those agree on a socket and a label separates them from all other candidates.
    #[must_use]
    pub fn pin_to(&self, kind: RuntimeKind, sockets_matter: bool) -> Option<Pin> {
        let (wanted, others): (Vec<GroupCount<'s>>, Vec<GroupCount<'s>>) =
            self.found.iter().partition(|found| {
                let facts = found.group.runtime();
                facts.kind == kind && facts.restriction.is_none()
            });
        let facts = wanted.first()?.group.runtime();
        let differs = |found: &GroupCount<'_>| found.group.runtime().socket != facts.socket;
        if sockets_matter && wanted.iter().any(differs) {
            return None;
        }
        pinning_labels().find_map(|key| {
            let value = |found: &GroupCount<'s>| found.group.labels.get(key).cloned();
            let values: BTreeSet<String> = wanted.iter().map(value).collect::<Option<_>>()?;
            let mut other_values = others.iter().filter_map(value);
            other_values
                .all(|value| !values.contains(&value))
                .then(|| Pin {
                    key: key.to_owned(),
                    values: values.into_iter().collect(),
                    facts: facts.clone(),
                })
        })
    }

    fn runtimes(&self) -> impl Iterator<Item = &'s RuntimeFacts> {
        self.found.iter().map(|found| found.group.runtime())
    }
}
