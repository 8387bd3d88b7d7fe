//! Cache pools: leases and claims.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use strum::{EnumIter, IntoEnumIterator, IntoStaticStr};

use super::{durations, register};
use crate::cluster::state::ClusterState;

/// The outcome of a pod's request for a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub(crate) enum LeaseOutcome {
    /// A claim with the layers of the pod's cache key.
    Warm,
    /// Another claim.
    Cold,
    /// No claim that the pod could use was free.
    Exhausted,
    /// Other pods took every claim that was tried.
    Contended,
    /// The API server did not answer in time.
    Timeout,
    /// The API server refused the write, or could not be reached.
    Failed,
    /// The claims are not known yet.
    Unknown,
    /// No pods appeared for earlier leases of the client.
    Suspended,
}

/// A change that the controller made to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub(crate) enum ClaimChange {
    /// It was created.
    Created,
    /// Its lease ended.
    Released,
    /// It was deleted.
    Deleted,
    /// One of these failed.
    Failed,
}

/// Metrics of cache pools.
pub(crate) struct PoolMetrics {
    leases: Family<OutcomeLabels, Counter>,
    lease_duration: Histogram,
    claims: Family<ClaimLabels, Gauge>,
    claim_changes: Family<OutcomeLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClaimLabels {
    profile: String,
    state: &'static str,
}

impl PoolMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            leases: register(
                registry,
                "pool_leases",
                "Pods that asked a pool for a claim, by outcome",
                Family::default(),
            ),
            lease_duration: register(
                registry,
                "pool_lease_duration_seconds",
                "Time that leasing a claim added to an admission request",
                durations(),
            ),
            claims: register(
                registry,
                "pool_claims",
                "Claims of pools, by profile and state",
                Family::default(),
            ),
            claim_changes: register(
                registry,
                "pool_claim_changes",
                "Changes that the leader made to claims, by kind",
                Family::default(),
            ),
        };
        for outcome in LeaseOutcome::iter() {
            metrics.lease_counter(outcome);
        }
        metrics
    }

    /// Counts a request for a claim, and records how long it took.
    pub(crate) fn count_lease(&self, outcome: LeaseOutcome, took: Duration) {
        self.lease_counter(outcome).inc();
        self.lease_duration.observe(took.as_secs_f64());
    }

    /// Counts a change that the leader made to a claim.
    pub(crate) fn count_claim_change(&self, change: ClaimChange) {
        let outcome = change.into_str();
        self.claim_changes
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }

    fn lease_counter(&self, outcome: LeaseOutcome) -> Counter {
        let outcome = outcome.into_str();
        self.leases.get_or_create_owned(&OutcomeLabels { outcome })
    }

    /// Counts claims by the profiles of the present policy. A claim's label is not to be trusted as
    /// a label value: anyone with access to the claim can write it.
    pub(super) fn refresh(&self, state: &ClusterState) {
        self.claims.clear();
        let Some(claims) = &state.claims else { return };
        for claim in claims.iter() {
            let known = state.policy.profile(&claim.profile).map(|(name, _)| name);
            let profile = known.unwrap_or("unknown").to_owned();
            let state = claim.state().as_str();
            self.claims
                .get_or_create(&ClaimLabels { profile, state })
                .inc();
        }
    }
}
