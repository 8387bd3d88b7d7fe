//! What Prometheus sees. The values of all labels are bounded: they come from enums, and from the
//! names in the policy.

mod freshness;
mod labels;

use std::{
    fmt,
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use slipway_core::{
    admission::Record,
    nodes::{RuntimeKind, Snapshot},
};

use crate::cluster::state::ClusterState;
use freshness::Freshness;
use labels::{
    BuildLabels, ClaimLabels, MirrorLabels, OutcomeLabels, PortLabels, ProblemLabels,
    RequestLabels, ResourceLabels, RuntimeLabels,
};
pub(crate) use labels::{ClaimChange, EventFate, LeaseOutcome, Port, Problem, Watched};

/// From the time of a small review to the API server's patience, in seconds.
const BUCKETS: [f64; 18] = [
    1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0,
    2.0, 5.0,
];

/// All metrics. What [`ClusterState`] hold is read from them at each scrape, so that it cannot differ.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
    problems: Family<ProblemLabels, Counter>,
    nodes: Family<RuntimeLabels, Gauge>,
    connections: Family<PortLabels, Gauge>,
    snapshot_age: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    watch_errors: Family<ResourceLabels, Counter>,
    freshness: Freshness,
    policy_reloads: Family<OutcomeLabels, Counter>,
    policy_reload_failed: Gauge,
    mirrors: Family<MirrorLabels, Gauge>,
    leases: Family<OutcomeLabels, Counter>,
    lease_duration: Histogram,
    claims: Family<ClaimLabels, Gauge>,
    claim_changes: Family<OutcomeLabels, Counter>,
    events: Family<OutcomeLabels, Counter>,
    certificate_expiry: Gauge,
    certificate_problem: Gauge,
    leader: Gauge,
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
    /// Metrics of which none has counted anything.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("slipway"),
            requests: Family::default(),
            duration: Histogram::new(BUCKETS),
            problems: Family::default(),
            nodes: Family::default(),
            connections: Family::default(),
            snapshot_age: Family::default(),
            watch_errors: Family::default(),
            freshness: Freshness::default(),
            policy_reloads: Family::default(),
            policy_reload_failed: Gauge::default(),
            mirrors: Family::default(),
            leases: Family::default(),
            lease_duration: Histogram::new(BUCKETS),
            claims: Family::default(),
            claim_changes: Family::default(),
            events: Family::default(),
            certificate_expiry: Gauge::default(),
            certificate_problem: Gauge::default(),
            leader: Gauge::default(),
        };
        metrics.register_admission();
        metrics.register_knowledge();
        metrics.register_pools();
        metrics.register_replica();
        // A counter that starts at its first event hides that event from `rate()`.
        for problem in Problem::ALL {
            metrics.problems(problem);
        }
        for outcome in LeaseOutcome::ALL {
            metrics.leases(outcome);
        }
        for watched in Watched::EVERYWHERE {
            metrics.watch_errors(watched);
            metrics.watch_begins(watched);
        }
        for accepted in [true, false] {
            metrics.policy_reloads(accepted);
        }
        for fate in EventFate::ALL {
            metrics.events(fate);
        }
        metrics
    }

    /// The same, for a server whose cluster state comes from files and never ages.
    #[must_use]
    pub fn standalone() -> Self {
        let metrics = Self::new();
        for watched in Watched::EVERYWHERE {
            metrics.watch_heard(watched);
        }
        metrics
    }

    fn register_admission(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "admission_requests",
            "Answered admission requests, by CI system, strategy and main reason",
            self.requests.clone(),
        );
        registry.register(
            "admission_duration_seconds",
            "Time from a request's head to its answer",
            self.duration.clone(),
        );
        registry.register(
            "admission_problems",
            "Requests and connections that went wrong, by what went wrong",
            self.problems.clone(),
        );
        registry.register(
            "connections",
            "Open connections, by port",
            self.connections.clone(),
        );
        registry.register(
            "events",
            "Kubernetes Events about pods that were left alone, by what became of them",
            self.events.clone(),
        );
        let build = BuildLabels {
            version: env!("CARGO_PKG_VERSION"),
        };
        registry.register("build", "The version of Slipway", Info::new(build));
    }

    fn register_knowledge(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "nodes",
            "Known nodes by container runtime",
            self.nodes.clone(),
        );
        registry.register(
            "snapshot_age_seconds",
            "0 while a resource is watched; else the time since the API server last said anything of it",
            self.snapshot_age.clone(),
        );
        registry.register(
            "watch_errors",
            "Lists and watches that failed and were begun again, by resource",
            self.watch_errors.clone(),
        );
        registry.register(
            "policy_reloads",
            "Changes of the policy file, by whether they came into force",
            self.policy_reloads.clone(),
        );
        registry.register(
            "policy_reload_failed",
            "1 when the policy file changed and could not be used; the last good one is in force",
            self.policy_reload_failed.clone(),
        );
        registry.register(
            "mirror_up",
            "0 for a registry mirror that refused two probes in a row, and is left out of new pods",
            self.mirrors.clone(),
        );
    }

    fn register_pools(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "pool_leases",
            "Pods that asked a pool for a claim, by what came of it",
            self.leases.clone(),
        );
        registry.register(
            "pool_lease_duration_seconds",
            "What the lease of a claim added to an admission request",
            self.lease_duration.clone(),
        );
        registry.register(
            "pool_claims",
            "Claims of pools by profile and state",
            self.claims.clone(),
        );
        registry.register(
            "pool_claim_changes",
            "What the leader did to claims, by what it was",
            self.claim_changes.clone(),
        );
    }

    fn leases(&self, outcome: LeaseOutcome) -> Counter {
        let outcome = outcome.as_str();
        self.leases.get_or_create_owned(&OutcomeLabels { outcome })
    }

    /// A pod asked a pool for a claim.
    pub(crate) fn leased(&self, outcome: LeaseOutcome, took: Duration) {
        self.leases(outcome).inc();
        self.lease_duration.observe(took.as_secs_f64());
    }

    /// The leader did something to a claim.
    pub(crate) fn claim_changed(&self, change: ClaimChange) {
        let outcome = change.as_str();
        self.claim_changes
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }

    pub(crate) fn connections(&self, port: Port) -> Gauge {
        let port = port.as_str();
        self.connections.get_or_create_owned(&PortLabels { port })
    }

    pub(crate) fn problems(&self, problem: Problem) -> Counter {
        let problem = problem.code();
        self.problems
            .get_or_create_owned(&ProblemLabels { problem })
    }

    pub(crate) fn problem(&self, problem: Problem) {
        self.problems(problem).inc();
    }

    pub(crate) fn decided(&self, record: &Record) {
        let labels = RequestLabels {
            system: record.system.clone().unwrap_or_else(|| "none".to_owned()),
            strategy: record.strategy.as_str(),
            reason: record.reason,
        };
        self.requests.get_or_create(&labels).inc();
    }

    pub(crate) fn took(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    /// From now on the resource is to be watched.
    pub(crate) fn watch_begins(&self, watched: Watched) {
        self.freshness.set_begun(watched, true);
    }

    /// The resource is watched no more, because nobody needs it.
    pub(crate) fn watch_ends(&self, watched: Watched) {
        self.freshness.set_begun(watched, false);
        let resource = watched.resource();
        self.snapshot_age.remove(&ResourceLabels { resource });
    }

    fn register_replica(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the serving certificate ends, in seconds since 1970; 0 while there is none",
            self.certificate_expiry.clone(),
        );
        registry.register(
            "certificate_problem",
            "1 when a newer certificate cannot be had or used; the last good one is served",
            self.certificate_problem.clone(),
        );
        registry.register(
            "leader",
            "1 on the replica that leads: it keeps the certificates, and the claims of pools",
            self.leader.clone(),
        );
    }

    /// Sets when the serving certificate expires, and whether a newer one cannot be had or used.
    pub(crate) fn set_certificate(&self, expires_at: Option<SystemTime>, has_problem: bool) {
        let since_1970 = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expiry = expires_at.map_or(0, |at| since_1970(at).as_secs());
        self.certificate_expiry
            .set(i64::try_from(expiry).unwrap_or(i64::MAX));
        self.certificate_problem.set(has_problem.into());
    }

    /// Whether this replica leads, as it was last told.
    pub(crate) fn is_leader(&self) -> bool {
        self.leader.get() == 1
    }

    /// Whether this replica leads.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// The API server said something of the resource: its watch is connected.
    pub(crate) fn watch_heard(&self, watched: Watched) {
        self.freshness.heard(watched);
    }

    fn watch_errors(&self, watched: Watched) -> Counter {
        let resource = watched.resource();
        self.watch_errors
            .get_or_create_owned(&ResourceLabels { resource })
    }

    /// The watch of the resource broke, or never began.
    pub(crate) fn watch_lost(&self, watched: Watched) {
        self.watch_errors(watched).inc();
        self.freshness.lost(watched);
    }

    fn policy_reloads(&self, accepted: bool) -> Counter {
        let outcome = if accepted { "accepted" } else { "refused" };
        self.policy_reloads
            .get_or_create_owned(&OutcomeLabels { outcome })
    }

    /// Whether a change of the policy file came into force.
    pub(crate) fn policy_reloaded(&self, accepted: bool) {
        self.policy_reloads(accepted).inc();
    }

    fn events(&self, fate: EventFate) -> Counter {
        let outcome = fate.code();
        self.events.get_or_create_owned(&OutcomeLabels { outcome })
    }

    /// What became of an Event.
    pub(crate) fn event(&self, fate: EventFate) {
        self.events(fate).inc();
    }

    /// All of them, in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never: writing to a `String` does not fail.
    pub fn encode(&self, state: &ClusterState) -> Result<String, fmt::Error> {
        if let Some(nodes) = &state.nodes {
            self.set_nodes(nodes);
        }
        self.set_snapshot_age();
        self.policy_reload_failed
            .set(state.policy_error.is_some().into());
        self.set_mirrors(state);
        self.set_claims(state);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn set_nodes(&self, nodes: &Snapshot) {
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
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Of each resource that is watched, how old what is known of it may be: nothing while its watch
    /// is connected.
    pub(crate) fn watch_ages(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let ages = self.freshness.ages();
        ages.map(|(watched, age)| (watched.resource(), age))
    }

    fn set_snapshot_age(&self) {
        for (resource, age) in self.watch_ages() {
            self.snapshot_age
                .get_or_create(&ResourceLabels { resource })
                .set(age.as_secs_f64());
        }
    }

    /// Only the mirrors that the policy names now, and only where they are probed.
    fn set_mirrors(&self, state: &ClusterState) {
        self.mirrors.clear();
        if !state.mirrors_probed {
            return;
        }
        for mirror in state.policy.registry_mirrors() {
            let up = !state
                .dead_mirrors
                .iter()
                .any(|dead| dead == mirror.as_str());
            let mirror = mirror.to_string();
            self.mirrors
                .get_or_create(&MirrorLabels { mirror })
                .set(up.into());
        }
    }

    /// By the profiles that the policy has now: what else stands in a claim's label is no name of ours.
    fn set_claims(&self, state: &ClusterState) {
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
