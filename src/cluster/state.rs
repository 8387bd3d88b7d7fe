//! The state of the cluster as this replica knows it.
//!
//! A [`ClusterState`] is immutable. A request loads the current one without a lock and uses it until it is
//! answered; each watch replaces its own part as a whole.

use std::{
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use slipway_core::{
    cache::claims::Claims, decide::Cluster, k8s::namespace::Namespaces, nodes::Snapshot,
    policy::Policy,
};

/// The namespaces before their first list.
static NO_NAMESPACES: LazyLock<Namespaces> = LazyLock::new(Namespaces::default);

/// The state of the cluster. Clones share the parts.
#[derive(Debug, Clone, Default)]
pub struct ClusterState {
    /// The nodes; `None` before their first list.
    pub nodes: Option<Arc<Snapshot>>,
    /// The namespaces, with their LimitRanges and ResourceQuotas; `None` before their first lists.
    pub namespaces: Option<Arc<Namespaces>>,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// Why the present policy file is not in force.
    pub policy_error: Option<Arc<str>>,
    /// Where the policy came from, and when.
    pub policy_load: PolicyLoad,
    /// Registry mirrors that did not answer the last probes, or have not answered any yet.
    pub dead_mirrors: Arc<[String]>,
    /// Whether the mirrors have been probed at all.
    pub mirrors_probed: bool,
    /// Whether the mirrors are going to be probed.
    pub probes_mirrors: bool,
    /// The claims of all pools; `None` before their first list, and if no profile has a pool.
    pub claims: Option<Arc<Claims>>,
}

/// Where the policy came from, and when.
#[derive(Debug, Clone, Default)]
pub struct PolicyLoad {
    /// The file; `None` for the built-in policy.
    pub file: Option<Arc<str>>,
    /// When the policy came into force.
    pub in_force_since: Option<SystemTime>,
    /// When a changed file was last refused.
    pub refused_at: Option<SystemTime>,
}

impl ClusterState {
    /// Returns the state as the core takes it.
    #[must_use]
    pub fn cluster(&self) -> Cluster<'_> {
        Cluster {
            nodes: self.nodes.as_deref(),
            namespaces: self.namespaces.as_deref().unwrap_or(&NO_NAMESPACES),
            policy: &self.policy,
            dead_mirrors: &self.dead_mirrors,
            claims: self.claims.as_deref(),
        }
    }

    /// Returns the same state, in which mirrors count as dead until a probe has been answered.
    #[must_use]
    pub fn probing_mirrors(mut self) -> Self {
        self.probes_mirrors = true;
        let unproven = self.policy.registry_mirrors().into_iter();
        self.dead_mirrors = unproven.map(ToString::to_string).collect();
        self
    }

    /// Replaces the policy. The mirrors that only the new one names count as dead until a probe has been
    /// answered.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        if self.probes_mirrors {
            let known = self.policy.registry_mirrors();
            let new = policy.registry_mirrors();
            let new = new.difference(&known).map(ToString::to_string);
            self.dead_mirrors = self.dead_mirrors.iter().cloned().chain(new).collect();
        }
        self.policy = policy;
    }

    /// Returns what is not known yet, one sentence each.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        [
            (self.nodes.is_none(), "the nodes are not known yet"),
            (
                self.namespaces.is_none(),
                "the namespaces are not known yet",
            ),
            (
                self.probes_mirrors && !self.mirrors_probed,
                "the registry mirrors have not been probed yet",
            ),
        ]
        .into_iter()
        .filter_map(|(missing, words)| missing.then_some(words))
        .collect()
    }
}

/// The current cluster state, replaced while requests are served.
#[derive(Debug, Default)]
pub struct LiveState {
    current: ArcSwap<ClusterState>,
    /// Wakes the tasks that wait for a change.
    changed: watch::Sender<()>,
}

impl LiveState {
    /// Creates a live state whose first state is `state`.
    #[must_use]
    pub fn new(state: ClusterState) -> Self {
        Self {
            current: ArcSwap::from_pointee(state),
            changed: watch::Sender::default(),
        }
    }

    /// Returns the current state, cheaply and without waiting.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<ClusterState>> {
        self.current.load()
    }

    /// Replaces parts of the state. `change` may run more than once: of two concurrent updates, the second
    /// is repeated on the result of the first.
    pub fn update(&self, change: impl Fn(&mut ClusterState)) {
        self.current.rcu(|state| {
            let mut state = ClusterState::clone(state);
            change(&mut state);
            state
        });
        self.changed.send_replace(());
    }

    /// Returns a receiver of every change from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until the state satisfies `wanted`.
    pub async fn until(&self, mut wanted: impl FnMut(&ClusterState) -> bool) {
        let mut changed = self.changed.subscribe();
        while !wanted(&self.load()) {
            // Cannot fail: `self` holds the sender.
            let _ = changed.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn everything_is_missing_until_its_first_list() {
        let live = LiveState::default();
        assert_eq!(live.load().missing().len(), 2);
        live.update(|state| state.nodes = Some(Arc::default()));
        assert_eq!(live.load().missing(), ["the namespaces are not known yet"]);
        live.update(|state| state.namespaces = Some(Arc::default()));
        assert!(live.load().missing().is_empty());
    }

    #[test]
    fn a_loaded_state_does_not_change() {
        let live = LiveState::default();
        let before = live.load();
        live.update(|state| state.dead_mirrors = ["https://a".to_owned()].into());
        assert!(before.dead_mirrors.is_empty());
        assert_eq!(live.load().dead_mirrors.len(), 1);
    }

    #[test]
    fn concurrent_updates_of_different_parts_are_all_kept() {
        let live = LiveState::default();
        thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..500 {
                    live.update(|state| state.dead_mirrors = [i.to_string()].into());
                }
            });
            for _ in 0..500 {
                live.update(|state| state.nodes = Some(Arc::default()));
            }
        });
        let state = live.load();
        assert!(state.nodes.is_some());
        assert_eq!(state.dead_mirrors.first().unwrap(), "499");
    }
}
