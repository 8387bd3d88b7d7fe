//! What is known of the cluster at one moment, and the one place where a newer moment replaces it.
//!
//! A [`Facts`] is immutable. Requests load the present one without a lock and keep it to their end;
//! the watches replace parts of it, each part whole.

use std::{
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use slipway_core::{
    cache::claims::{Claims, Pools},
    decide::Cluster,
    k8s::namespace::Namespaces,
    nodes::Snapshot,
    policy::Policy,
};

/// Before the first list of namespaces, none is known.
static NO_NAMESPACES: LazyLock<Namespaces> = LazyLock::new(Namespaces::default);

/// What is known of the cluster. Its clones share the parts.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The nodes; `None` before the first list arrived.
    pub nodes: Option<Arc<Snapshot>>,
    /// The namespaces and their LimitRanges; `None` before the first lists arrived.
    pub namespaces: Option<Arc<Namespaces>>,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// Why the policy file, as it is now, is not the policy in force.
    pub policy_error: Option<Arc<str>>,
    /// Where the policy came from, and when.
    pub policy_load: PolicyLoad,
    /// Registry mirrors that did not answer when they were last probed.
    pub dead_mirrors: Arc<[String]>,
    /// The claims of all pools; `None` before the first list arrived, and where no profile has a pool.
    pub claims: Option<Arc<Claims>>,
    /// Whether they have been probed at all.
    pub mirrors_probed: bool,
}

/// Where the policy came from, and when.
#[derive(Debug, Clone, Default)]
pub struct PolicyLoad {
    /// The file; `None` for the built-in policy.
    pub file: Option<Arc<str>>,
    /// Since when the policy is in force.
    pub in_force_since: Option<SystemTime>,
    /// When the file last changed to something that cannot be used.
    pub refused_at: Option<SystemTime>,
}

impl Facts {
    /// The facts as the core takes them.
    #[must_use]
    pub fn cluster(&self) -> Cluster<'_> {
        Cluster {
            nodes: self.nodes.as_deref(),
            namespaces: self.namespaces.as_deref().unwrap_or(&NO_NAMESPACES),
            policy: &self.policy,
            dead_mirrors: &self.dead_mirrors,
            pools: Pools {
                claims: self.claims.as_deref(),
                grant: None,
            },
        }
    }

    /// What has not been heard of yet, in words; empty once everything has.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        [
            (self.nodes.is_none(), "the nodes are not known yet"),
            (
                self.namespaces.is_none(),
                "the namespaces are not known yet",
            ),
        ]
        .into_iter()
        .filter_map(|(missing, words)| missing.then_some(words))
        .collect()
    }
}

/// The facts in force, replaced while requests go on.
#[derive(Debug, Default)]
pub struct LiveFacts {
    current: ArcSwap<Facts>,
    /// Tells those who wait that something changed.
    changed: watch::Sender<()>,
}

impl LiveFacts {
    /// Begins with these facts.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        Self {
            current: ArcSwap::from_pointee(facts),
            changed: watch::Sender::default(),
        }
    }

    /// The facts of this moment. Cheap, and never waits.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Facts>> {
        self.current.load()
    }

    /// Replaces parts. Two who replace different parts at once both succeed: `change` may run
    /// again, on what the other one wrote.
    pub fn update(&self, change: impl Fn(&mut Facts)) {
        self.current.rcu(|facts| {
            let mut facts = Facts::clone(facts);
            change(&mut facts);
            facts
        });
        self.changed.send_replace(());
    }

    /// Tells of every change from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until the facts are as `wanted`.
    pub async fn until(&self, mut wanted: impl FnMut(&Facts) -> bool) {
        let mut changed = self.changed.subscribe();
        while !wanted(&self.load()) {
            // The sender is part of `self`: it is there as long as this waits.
            let _ = changed.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_is_missing_is_said_until_it_is_there() {
        let live = LiveFacts::default();
        assert_eq!(live.load().missing().len(), 2);
        live.update(|facts| facts.nodes = Some(Arc::default()));
        assert_eq!(live.load().missing(), ["the namespaces are not known yet"]);
        live.update(|facts| facts.namespaces = Some(Arc::default()));
        assert!(live.load().missing().is_empty());
    }

    #[test]
    fn facts_that_are_in_use_do_not_change() {
        let live = LiveFacts::default();
        let before = live.load();
        live.update(|facts| facts.dead_mirrors = ["https://a".to_owned()].into());
        assert!(before.dead_mirrors.is_empty());
        assert_eq!(live.load().dead_mirrors.len(), 1);
    }

    #[test]
    fn changes_of_different_parts_at_once_are_all_kept() {
        let live = LiveFacts::default();
        thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..500 {
                    live.update(|facts| facts.dead_mirrors = [i.to_string()].into());
                }
            });
            for _ in 0..500 {
                live.update(|facts| facts.nodes = Some(Arc::default()));
            }
        });
        let facts = live.load();
        assert!(facts.nodes.is_some());
        assert_eq!(facts.dead_mirrors.first().unwrap(), "499");
    }
}
