//! The cluster's nodes, and the Events that Slipway writes.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use slipway_core::nodes::RuntimeKind;
use strum::{EnumIter, IntoEnumIterator, IntoStaticStr};

use super::{gauge_value, register};
use crate::cluster::state::ClusterState;

/// What became of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub(crate) enum EventOutcome {
    /// It was written.
    Published,
    /// The same reason was written for the same namespace recently.
    Suppressed,
    /// The queue was full.
    Dropped,
    /// The API server refused it or did not answer.
    Failed,
}

/// Metrics of the cluster.
pub(crate) struct ClusterMetrics {
    nodes: Family<RuntimeLabels, Gauge>,
    events: Family<EventLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuntimeLabels {
    runtime: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    outcome: &'static str,
}

impl ClusterMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            nodes: register(
                registry,
                "nodes",
                "Known nodes, by container runtime",
                Family::default(),
            ),
            events: register(
                registry,
                "events",
                "Kubernetes Events about pods that were left alone, by outcome",
                Family::default(),
            ),
        };
        for outcome in EventOutcome::iter() {
            metrics.event_counter(outcome);
        }
        metrics
    }

    /// Counts an Event.
    pub(crate) fn count_event(&self, outcome: EventOutcome) {
        self.event_counter(outcome).inc();
    }

    fn event_counter(&self, outcome: EventOutcome) -> Counter {
        let outcome = outcome.into_str();
        self.events.get_or_create_owned(&EventLabels { outcome })
    }

    pub(super) fn refresh(&self, state: &ClusterState) {
        let Some(nodes) = &state.nodes else { return };
        let counts = nodes.count_by_runtime();
        for kind in [
            RuntimeKind::Containerd,
            RuntimeKind::Docker,
            RuntimeKind::CriO,
            RuntimeKind::Unknown,
        ] {
            let count = counts.get(&kind).copied().unwrap_or_default();
            let runtime = kind.name();
            self.nodes
                .get_or_create(&RuntimeLabels { runtime })
                .set(gauge_value(count));
        }
    }
}
