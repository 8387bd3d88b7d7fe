//! What Prometheus sees. The values of all labels are bounded: they come from enums, and from the
//! names in the policy.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::{
    admit::Record,
    facts::Facts,
    nodes::{RuntimeKind, Snapshot},
    server::tls::ServingCertificate,
};

/// From the time of a small review to the API server's patience, in seconds.
const BUCKETS: [f64; 18] = [
    1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0,
    2.0, 5.0,
];

/// What can go wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The evaluation panicked.
    Panic,
    /// The body did not arrive in time.
    Deadline,
    /// The body, or what it asks about, is not what a webhook is asked.
    BadRequest,
    /// The body is too large.
    TooLarge,
    /// A connection was closed at once, because there were too many.
    ConnectionLimit,
}

impl Problem {
    const ALL: [Self; 5] = [
        Self::Panic,
        Self::Deadline,
        Self::BadRequest,
        Self::TooLarge,
        Self::ConnectionLimit,
    ];

    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Deadline => "deadline",
            Self::BadRequest => "bad-request",
            Self::TooLarge => "too-large",
            Self::ConnectionLimit => "connection-limit",
        }
    }
}

/// What a connection was made to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Port {
    /// The webhook's.
    Webhook,
    /// The metrics'.
    Metrics,
}

/// What became of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventFate {
    /// It was written.
    Published,
    /// The namespace was told of this reason a while ago.
    Suppressed,
    /// Too many were waiting.
    Dropped,
    /// The API server did not take it.
    Failed,
}

impl EventFate {
    const ALL: [Self; 4] = [
        Self::Published,
        Self::Suppressed,
        Self::Dropped,
        Self::Failed,
    ];

    fn code(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Suppressed => "suppressed",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}

/// What is watched in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Node objects.
    Nodes,
    /// Namespace objects.
    Namespaces,
    /// LimitRange objects.
    LimitRanges,
    /// ResourceQuota objects.
    ResourceQuotas,
    /// The claims of pools.
    Claims,
    /// The pods that have a claim of a pool.
    Pods,
}

impl Watched {
    const ALL: [Self; 6] = [
        Self::Nodes,
        Self::Namespaces,
        Self::LimitRanges,
        Self::ResourceQuotas,
        Self::Claims,
        Self::Pods,
    ];
    /// What is watched in every cluster; the rest only where the policy has pools.
    const EVERYWHERE: [Self; 4] = [
        Self::Nodes,
        Self::Namespaces,
        Self::LimitRanges,
        Self::ResourceQuotas,
    ];

    /// The name of the resource in the Kubernetes API.
    pub(crate) fn resource(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Namespaces => "namespaces",
            Self::LimitRanges => "limitranges",
            Self::ResourceQuotas => "resourcequotas",
            Self::Claims => "persistentvolumeclaims",
            Self::Pods => "pods",
        }
    }
}

/// What came of asking a pool for a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseOutcome {
    /// A claim with the layers of the pod's cache key.
    Warm,
    /// Another claim.
    Cold,
    /// There was none that the pod could use.
    Exhausted,
    /// Others took each claim that was tried.
    Contended,
    /// The API server did not answer in time.
    Timeout,
    /// The API server refused the write, or could not be reached.
    Failed,
    /// The claims are not known yet.
    Unknown,
}

impl LeaseOutcome {
    const ALL: [Self; 7] = [
        Self::Warm,
        Self::Cold,
        Self::Exhausted,
        Self::Contended,
        Self::Timeout,
        Self::Failed,
        Self::Unknown,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
            Self::Exhausted => "exhausted",
            Self::Contended => "contended",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// What the controller did to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimChange {
    /// It was made.
    Created,
    /// Its lease ended.
    Released,
    /// It was deleted.
    Deleted,
    /// Something of this failed.
    Failed,
}

/// How it goes with a watch.
#[derive(Debug, Default)]
struct Freshness {
    /// Whether anybody watches it.
    begun: AtomicBool,
    connected: AtomicBool,
    /// Milliseconds from the start of the process to the last word of the API server.
    heard: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    system: String,
    strategy: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProblemLabels {
    problem: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuntimeLabels {
    runtime: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    resource: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MirrorLabels {
    mirror: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClaimLabels {
    profile: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabels {
    port: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// All metrics. What [`Facts`] hold is read from them at each scrape, so that it cannot differ.
pub struct Metrics {
    registry: Registry,
    started: Instant,
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
    problems: Family<ProblemLabels, Counter>,
    nodes: Family<RuntimeLabels, Gauge>,
    connections: Family<PortLabels, Gauge>,
    snapshot_age: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    watch_errors: Family<ResourceLabels, Counter>,
    freshness: [Freshness; Watched::ALL.len()],
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
            started: Instant::now(),
            requests: Family::default(),
            duration: Histogram::new(BUCKETS),
            problems: Family::default(),
            nodes: Family::default(),
            connections: Family::default(),
            snapshot_age: Family::default(),
            watch_errors: Family::default(),
            freshness: Default::default(),
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

    /// The same, for a server whose facts come from files and never age.
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
        let outcome = match change {
            ClaimChange::Created => "created",
            ClaimChange::Released => "released",
            ClaimChange::Deleted => "deleted",
            ClaimChange::Failed => "failed",
        };
        self.claim_changes
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }

    pub(crate) fn connections(&self, port: Port) -> Gauge {
        let port = match port {
            Port::Webhook => "webhook",
            Port::Metrics => "metrics",
        };
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
        if let Some(freshness) = self.freshness.get(watched as usize) {
            freshness.begun.store(true, Ordering::Relaxed);
        }
    }

    /// The resource is watched no more, because nobody needs it.
    pub(crate) fn watch_ends(&self, watched: Watched) {
        if let Some(freshness) = self.freshness.get(watched as usize) {
            freshness.begun.store(false, Ordering::Relaxed);
        }
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
            "1 on the replica that keeps the certificates",
            self.leader.clone(),
        );
    }

    /// How it is with the certificate.
    pub(crate) fn certificate(&self, certificate: &ServingCertificate) {
        let since_1970 = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expiry = certificate
            .expires_at()
            .map_or(0, |at| since_1970(at).as_secs());
        self.certificate_expiry
            .set(i64::try_from(expiry).unwrap_or(i64::MAX));
        self.certificate_problem
            .set(certificate.problem().is_some().into());
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
        if let Some(freshness) = self.freshness.get(watched as usize) {
            freshness.heard.store(self.now(), Ordering::Relaxed);
            freshness.connected.store(true, Ordering::Relaxed);
        }
    }

    fn watch_errors(&self, watched: Watched) -> Counter {
        let resource = watched.resource();
        self.watch_errors
            .get_or_create_owned(&ResourceLabels { resource })
    }

    /// The watch of the resource broke, or never began.
    pub(crate) fn watch_lost(&self, watched: Watched) {
        self.watch_errors(watched).inc();
        if let Some(freshness) = self.freshness.get(watched as usize) {
            // It may have been silent for days, because nothing changed: it was good until now.
            if freshness.connected.swap(false, Ordering::Relaxed) {
                freshness.heard.store(self.now(), Ordering::Relaxed);
            }
        }
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

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// All of them, in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never: writing to a `String` does not fail.
    pub fn encode(&self, facts: &Facts) -> Result<String, fmt::Error> {
        if let Some(nodes) = &facts.nodes {
            self.set_nodes(nodes);
        }
        self.set_snapshot_age();
        self.policy_reload_failed
            .set(facts.policy_error.is_some().into());
        self.set_mirrors(facts);
        self.set_claims(facts);
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
        let all = Watched::ALL.into_iter().zip(&self.freshness);
        let begun = all.filter(|(_, freshness)| freshness.begun.load(Ordering::Relaxed));
        begun.map(|(watched, freshness)| {
            let heard = freshness.heard.load(Ordering::Relaxed);
            let age = if freshness.connected.load(Ordering::Relaxed) {
                Duration::ZERO
            } else {
                Duration::from_millis(self.now().saturating_sub(heard))
            };
            (watched.resource(), age)
        })
    }

    fn set_snapshot_age(&self) {
        for (resource, age) in self.watch_ages() {
            self.snapshot_age
                .get_or_create(&ResourceLabels { resource })
                .set(age.as_secs_f64());
        }
    }

    /// Only the mirrors that the policy names now, and only where they are probed.
    fn set_mirrors(&self, facts: &Facts) {
        self.mirrors.clear();
        if !facts.mirrors_probed {
            return;
        }
        for mirror in facts.policy.registry_mirrors() {
            let up = !facts
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
    fn set_claims(&self, facts: &Facts) {
        self.claims.clear();
        let Some(claims) = &facts.claims else { return };
        for claim in claims.iter() {
            let known = facts.policy.profile(&claim.pool).map(|(name, _)| name);
            let profile = known.unwrap_or("unknown").to_owned();
            let state = claim.state().as_str();
            self.claims
                .get_or_create(&ClaimLabels { profile, state })
                .inc();
        }
    }
}
