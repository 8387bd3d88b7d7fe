//! The replica itself: its version, its certificate, and whether it leads.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{gauge::Gauge, info::Info},
    registry::Registry,
};

use super::{gauge_value, register};

/// Metrics of the replica.
pub(crate) struct ReplicaMetrics {
    certificate_expiry: Gauge,
    certificate_problem: Gauge,
    leader: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

impl ReplicaMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let build = BuildLabels {
            version: env!("CARGO_PKG_VERSION"),
        };
        registry.register("build", "The version of Slipway", Info::new(build));
        Self {
            certificate_expiry: register(
                registry,
                "certificate_expiry_timestamp_seconds",
                "When the serving certificate expires, in seconds since 1970; 0 while there is none",
                Gauge::default(),
            ),
            certificate_problem: register(
                registry,
                "certificate_problem",
                "1 while a newer certificate cannot be obtained or used; the last good one is served",
                Gauge::default(),
            ),
            leader: register(
                registry,
                "leader",
                "1 on the leader, which renews the certificates and manages the claims of pools",
                Gauge::default(),
            ),
        }
    }

    /// Notes whether this replica leads.
    pub(crate) fn set_leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Returns whether this replica leads, as last noted.
    pub(crate) fn is_leader(&self) -> bool {
        self.leader.get() == 1
    }

    /// Notes when the serving certificate expires, and whether a newer one cannot be obtained or used.
    pub(crate) fn set_certificate(&self, expires_at: Option<SystemTime>, has_problem: bool) {
        let since_1970 = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expiry = expires_at.map_or(0, |at| since_1970(at).as_secs());
        self.certificate_expiry.set(gauge_value(expiry));
        self.certificate_problem.set(has_problem.into());
    }
}
