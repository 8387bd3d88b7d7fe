//! The metrics that Prometheus scrapes, one module per concern.
//!
//! Every label value is bounded: it comes from an enum, or from a name in the policy.

mod cluster;
mod policy;
mod pools;
mod replica;
mod server;
mod watches;

use std::fmt;

use prometheus_client::{
    encoding::text::encode,
    metrics::histogram::Histogram,
    registry::{Metric, Registry},
};

use cluster::ClusterMetrics;
pub(crate) use cluster::EventOutcome;
use policy::PolicyMetrics;
use pools::PoolMetrics;
pub(crate) use pools::{ClaimChange, LeaseOutcome};
use replica::ReplicaMetrics;
use server::ServerMetrics;
pub(crate) use server::{Port, Problem};
use watches::WatchMetrics;
pub(crate) use watches::Watched;

use crate::cluster::state::ClusterState;

/// From the duration of a small review to the longest that the API server waits, in seconds.
const BUCKETS: [f64; 18] = [
    1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0,
    2.0, 5.0,
];

/// All metrics of one replica.
pub struct Metrics {
    registry: Registry,
    pub(crate) server: ServerMetrics,
    pub(crate) cluster: ClusterMetrics,
    pub(crate) watches: WatchMetrics,
    pub(crate) policy: PolicyMetrics,
    pub(crate) pools: PoolMetrics,
    pub(crate) replica: ReplicaMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers all metrics. Counters start at zero: one that first appears with its first event
    /// hides that event from `rate()`.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("slipway");
        Self {
            server: ServerMetrics::new(&mut registry),
            cluster: ClusterMetrics::new(&mut registry),
            watches: WatchMetrics::new(&mut registry),
            policy: PolicyMetrics::new(&mut registry),
            pools: PoolMetrics::new(&mut registry),
            replica: ReplicaMetrics::new(&mut registry),
            registry,
        }
    }

    /// Creates the metrics of a server whose cluster state comes from files and never ages.
    #[must_use]
    pub fn standalone() -> Self {
        let metrics = Self::new();
        for watched in Watched::ALWAYS {
            metrics.watches.heard(watched);
        }
        metrics
    }

    /// Encodes all metrics in the OpenMetrics text format. What the cluster state holds is read
    /// from it at each scrape, so that metrics and decisions cannot disagree.
    ///
    /// # Errors
    /// Never: writing to a `String` does not fail.
    pub fn encode(&self, state: &ClusterState) -> Result<String, fmt::Error> {
        self.cluster.refresh(state);
        self.watches.refresh();
        self.policy.refresh(state);
        self.pools.refresh(state);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Registers a metric and returns the handle that updates it.
fn register<M: Metric + Clone>(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
    metric: M,
) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn durations() -> Histogram {
    Histogram::new(BUCKETS)
}

/// Converts a count to what a gauge takes.
fn gauge_value(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Dashboards and alerts of users depend on these.
    #[test]
    fn names_and_label_values_stay() {
        let metrics = Metrics::new();
        for watched in [Watched::Claims, Watched::Pods] {
            metrics.watches.begin(watched);
        }
        for port in [Port::Webhook, Port::Metrics] {
            metrics.server.open_connections(port);
        }
        for change in [
            ClaimChange::Created,
            ClaimChange::Released,
            ClaimChange::Deleted,
            ClaimChange::Failed,
        ] {
            metrics.pools.count_claim_change(change);
        }
        let text = metrics.encode(&ClusterState::default()).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let series: BTreeSet<&str> = samples
            .filter(|line| !line.contains("_bucket{"))
            .filter_map(|line| line.strip_prefix("slipway_")?.rsplit(' ').nth(1))
            .collect();
        let mut expected =
            BTreeSet::from([
                concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}").to_owned(),
            ]);
        for (name, label, values) in [
            ("admission_duration_seconds_count", "", ""),
            ("admission_duration_seconds_sum", "", ""),
            (
                "admission_problems_total",
                "problem",
                "panic deadline bad-request too-large connection-limit",
            ),
            ("connections", "port", "webhook metrics"),
            (
                "events_total",
                "outcome",
                "published suppressed dropped failed",
            ),
            (
                "snapshot_age_seconds",
                "resource",
                "nodes namespaces limitranges resourcequotas persistentvolumeclaims pods",
            ),
            (
                "watch_errors_total",
                "resource",
                "nodes namespaces limitranges resourcequotas",
            ),
            ("policy_reloads_total", "outcome", "accepted refused"),
            ("policy_reload_failed", "", ""),
            (
                "pool_leases_total",
                "outcome",
                "warm cold exhausted contended timeout failed unknown suspended",
            ),
            ("pool_lease_duration_seconds_count", "", ""),
            ("pool_lease_duration_seconds_sum", "", ""),
            (
                "pool_claim_changes_total",
                "outcome",
                "created released deleted failed",
            ),
            ("certificate_expiry_timestamp_seconds", "", ""),
            ("certificate_problem", "", ""),
            ("leader", "", ""),
        ] {
            if label.is_empty() {
                expected.insert(name.to_owned());
            }
            for value in values.split_whitespace() {
                expected.insert(format!("{name}{{{label}=\"{value}\"}}"));
            }
        }
        assert_eq!(series, expected.iter().map(String::as_str).collect());
    }
}
