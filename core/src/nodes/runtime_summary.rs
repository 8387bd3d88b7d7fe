//! The runtimes of some nodes, for people.

use std::{collections::BTreeMap, fmt};

use super::{Restriction, RuntimeFacts, RuntimeKind};

/// Nodes counted by runtime. Prints as `3 nodes with containerd at /run/…; 2 nodes with CRI-O`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeSummary(BTreeMap<Runtime, usize>);

/// What the summary says about a runtime.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Runtime {
    kind: RuntimeKind,
    socket: Option<String>,
    restriction: Option<Restriction>,
}

impl<'f> FromIterator<(&'f RuntimeFacts, usize)> for RuntimeSummary {
    /// Adds up the numbers of nodes. A declared pool has none.
    fn from_iter<I: IntoIterator<Item = (&'f RuntimeFacts, usize)>>(counts: I) -> Self {
        let mut summary = BTreeMap::new();
        for (facts, nodes) in counts {
            let runtime = Runtime {
                kind: facts.kind,
                socket: facts.socket.clone(),
                restriction: facts.restriction,
            };
            *summary.entry(runtime).or_default() += nodes;
        }
        Self(summary)
    }
}

impl fmt::Display for RuntimeSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (runtime, nodes)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            match nodes {
                0 => write!(f, "a declared pool with {runtime}")?,
                1 => write!(f, "1 node with {runtime}")?,
                nodes => write!(f, "{nodes} nodes with {runtime}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        match (self.restriction, &self.socket) {
            (Some(restriction), _) => write!(f, " on {restriction}"),
            (None, Some(path)) => write!(f, " at {path}"),
            (None, None) => Ok(()),
        }
    }
}
