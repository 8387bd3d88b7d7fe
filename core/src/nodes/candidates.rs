//! The nodes that could run a pod, and what they have in common.

use std::collections::{BTreeMap, BTreeSet};

use super::{Group, RUNTIME_LABEL, Restriction, RuntimeFacts, RuntimeKind, placement};
use crate::pod::NodeSelectorTerm;

/// Labels that name the pool of a node.
pub(super) const POOL_NAME_LABELS: [&str; 7] = [
    "kubernetes.azure.com/agentpool",
    "agentpool",
    "eks.amazonaws.com/nodegroup",
    "karpenter.sh/nodepool",
    "cloud.google.com/gke-nodepool",
    "node-pool",
    "pool",
];

/// Labels that tell pools of nodes apart, in the order in which a pod is pinned by them.
pub(super) fn pool_labels() -> impl Iterator<Item = &'static str> {
    [RUNTIME_LABEL, "cloud.google.com/gke-container-runtime"]
        .into_iter()
        .chain(POOL_NAME_LABELS)
}

/// Alike nodes that could run the pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'s> {
    pub group: &'s Group,
    /// How many there are; zero for a declared pool.
    pub nodes: usize,
}

/// The nodes that could run a pod.
#[derive(Debug, Clone)]
pub struct Candidates<'s> {
    pub(super) found: Vec<Candidate<'s>>,
    pub(super) known: usize,
    /// What stands in where no candidate says more: the lowest version of any kubelet, and what
    /// restricts the cluster as a whole.
    pub(super) fallback: (Option<u32>, Option<Restriction>),
}

/// What the candidate nodes have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement<'s> {
    /// There are no candidates.
    None,
    /// All have this runtime and this socket.
    On(&'s RuntimeFacts),
    /// They differ.
    Mixed,
}

/// A label whose values tell the wanted candidates from all others.
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
    /// What they have in common: the kind, what restricts them, and the socket where it matters.
    /// An agreement carries the facts of the first.
    #[must_use]
    pub fn agreement(&self, sockets_matter: bool) -> Agreement<'s> {
        let key = |facts: &'s RuntimeFacts| {
            let socket = facts.socket.as_deref().filter(|_| sockets_matter);
            (facts.kind, facts.restriction, socket)
        };
        let mut all = self.found.iter().map(|candidate| &candidate.group.facts);
        let Some(first) = all.next() else {
            return Agreement::None;
        };
        if all.all(|facts| key(facts) == key(first)) {
            Agreement::On(first)
        } else {
            Agreement::Mixed
        }
    }

    /// What forbids host access on one of them at least.
    #[must_use]
    pub fn restriction(&self) -> Option<Restriction> {
        let restrictions = self.found.iter().map(|c| c.group.facts.restriction);
        let (_, of_cluster) = self.fallback;
        restrictions
            .flatten()
            .min()
            .or(of_cluster.filter(|_| self.nodes() == 0))
    }

    /// The lowest minor version of their kubelets, where known.
    #[must_use]
    pub fn kubelet_minor(&self) -> Option<u32> {
        let minors = self.found.iter().map(|c| c.group.facts.kubelet_minor);
        let (lowest, _) = self.fallback;
        minors.flatten().min().or(lowest)
    }

    /// How many nodes they are; declared pools count none.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.found.iter().map(|candidate| candidate.nodes).sum()
    }

    /// Whether one of them fits one of these terms of a volume. Labels that tell nearly every node
    /// apart are not looked at: a volume that one node alone can reach counts as out of reach.
    #[must_use]
    pub fn reach(&self, terms: &[NodeSelectorTerm<'_>]) -> bool {
        let fits = |group: &Group| {
            terms
                .iter()
                .any(|term| placement::fits(term, group.place()))
        };
        self.found.iter().any(|candidate| fits(candidate.group))
    }

    /// How many nodes are known in all.
    #[must_use]
    pub fn known_nodes(&self) -> usize {
        self.known
    }

    /// Counts by runtime and socket, for people: `3 nodes containerd at /run/…; 2 nodes CRI-O`.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut counts: BTreeMap<_, usize> = BTreeMap::new();
        for candidate in &self.found {
            let facts = &candidate.group.facts;
            *counts
                .entry((facts.kind, facts.socket.as_deref(), facts.restriction))
                .or_default() += candidate.nodes;
        }
        let parts = counts.iter().map(|((kind, socket, restriction), nodes)| {
            let at = match (restriction, socket) {
                (Some(restriction), _) => format!(" on {restriction}"),
                (None, Some(path)) => format!(" at {path}"),
                (None, None) => String::new(),
            };
            match nodes {
                0 => format!("a declared pool with {kind}{at}"),
                1 => format!("1 node with {kind}{at}"),
                n => format!("{n} nodes with {kind}{at}"),
            }
        });
        parts.collect::<Vec<_>>().join("; ")
    }

    /// A label by which the pod can be tied to the unrestricted nodes of the runtime `kind`, if
    /// those agree on a socket and a label tells them from all other candidates.
    #[must_use]
    pub fn pin_to(&self, kind: RuntimeKind, sockets_matter: bool) -> Option<Pin> {
        let (wanted, others): (Vec<Candidate<'s>>, Vec<Candidate<'s>>) =
            self.found.iter().partition(|candidate| {
                let facts = &candidate.group.facts;
                facts.kind == kind && facts.restriction.is_none()
            });
        let facts = &wanted.first()?.group.facts;
        let differs = |c: &Candidate<'_>| c.group.facts.socket != facts.socket;
        if sockets_matter && wanted.iter().any(differs) {
            return None;
        }
        pool_labels().find_map(|key| {
            let value_of = |c: &Candidate<'s>| c.group.labels.get(key).cloned();
            let values: BTreeSet<String> = wanted.iter().map(value_of).collect::<Option<_>>()?;
            let apart = others
                .iter()
                .filter_map(value_of)
                .all(|value| !values.contains(&value));
            apart.then(|| Pin {
                key: key.to_owned(),
                values: values.into_iter().collect(),
                facts: facts.clone(),
            })
        })
    }
}
