//! The policy file, and the registry mirrors that it names.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::register;
use crate::cluster::state::ClusterState;

/// Metrics of the policy.
pub(crate) struct PolicyMetrics {
    reloads: Family<ReloadLabels, Counter>,
    reload_failed: Gauge,
    mirrors: Family<MirrorLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MirrorLabels {
    mirror: String,
}

impl PolicyMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            reloads: register(
                registry,
                "policy_reloads",
                "Changes of the policy file, by whether they took effect",
                Family::default(),
            ),
            reload_failed: register(
                registry,
                "policy_reload_failed",
                "1 while the policy file is invalid; the last valid one is in force",
                Gauge::default(),
            ),
            mirrors: register(
                registry,
                "mirror_up",
                "0 for a registry mirror that failed two probes in a row and is left out of new pods",
                Family::default(),
            ),
        };
        for accepted in [true, false] {
            metrics.reloads(accepted);
        }
        metrics
    }

    /// Counts a change of the policy file.
    pub(crate) fn count_reload(&self, accepted: bool) {
        self.reloads(accepted).inc();
    }

    fn reloads(&self, accepted: bool) -> Counter {
        let outcome = if accepted { "accepted" } else { "refused" };
        self.reloads.get_or_create_owned(&ReloadLabels { outcome })
    }

    /// Shows only the mirrors that the policy names now, and only where they are probed.
    pub(super) fn refresh(&self, state: &ClusterState) {
        self.reload_failed.set(state.policy_error.is_some().into());
        self.mirrors.clear();
        if !state.mirrors_probed {
            return;
        }
        for mirror in state.policy.registry_mirrors() {
            let is_dead = |dead: &String| dead == mirror.as_str();
            let up = !state.dead_mirrors.iter().any(is_dead);
            let mirror = mirror.to_string();
            self.mirrors
                .get_or_create(&MirrorLabels { mirror })
                .set(up.into());
        }
    }
}
