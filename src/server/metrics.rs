//! What Prometheus sees. The values of all labels are bounded: they come from enums, and from the
//! names in the policy.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::{
    admit::Record,
    nodes::{RuntimeKind, Snapshot},
};

/// From the time of a small review to the API server's patience, in seconds.
const BUCKETS: [f64; 18] = [
    1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0,
    2.0, 5.0,
];

/// What can go wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
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

    pub(super) fn code(self) -> &'static str {
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
pub(super) enum Port {
    /// The webhook's.
    Webhook,
    /// The metrics'.
    Metrics,
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
struct PortLabels {
    port: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// All metrics.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
    problems: Family<ProblemLabels, Counter>,
    nodes: Family<RuntimeLabels, Gauge>,
    connections: Family<PortLabels, Gauge>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("slipway");
        let metrics = Self {
            requests: Family::default(),
            duration: Histogram::new(BUCKETS),
            problems: Family::default(),
            nodes: Family::default(),
            connections: Family::default(),
            registry: Registry::default(),
        };
        registry.register(
            "admission_requests",
            "Answered admission requests, by CI system, strategy and main reason",
            metrics.requests.clone(),
        );
        registry.register(
            "admission_duration_seconds",
            "Time from a request's head to its answer",
            metrics.duration.clone(),
        );
        registry.register(
            "admission_problems",
            "Requests and connections that went wrong, by what went wrong",
            metrics.problems.clone(),
        );
        registry.register(
            "nodes",
            "Known nodes by container runtime",
            metrics.nodes.clone(),
        );
        registry.register(
            "connections",
            "Open connections, by port",
            metrics.connections.clone(),
        );
        registry.register(
            "policy_reload_failed",
            "1 when the policy file changed and could not be used; the last good one is in force",
            Gauge::<i64>::default(),
        );
        let build = BuildLabels {
            version: env!("CARGO_PKG_VERSION"),
        };
        registry.register("build", "The version of Slipway", Info::new(build));
        // A counter that starts at its first event hides that event from `rate()`.
        for problem in Problem::ALL {
            metrics.problems(problem);
        }
        Self {
            registry,
            ..metrics
        }
    }

    pub(super) fn connections(&self, port: Port) -> Gauge {
        let port = match port {
            Port::Webhook => "webhook",
            Port::Metrics => "metrics",
        };
        self.connections.get_or_create_owned(&PortLabels { port })
    }

    pub(super) fn problems(&self, problem: Problem) -> Counter {
        let problem = problem.code();
        self.problems
            .get_or_create_owned(&ProblemLabels { problem })
    }

    pub(super) fn problem(&self, problem: Problem) {
        self.problems(problem).inc();
    }

    pub(super) fn decided(&self, record: &Record) {
        let labels = RequestLabels {
            system: record.system.clone().unwrap_or_else(|| "none".to_owned()),
            strategy: record.strategy.as_str(),
            reason: record.reason,
        };
        self.requests.get_or_create(&labels).inc();
    }

    pub(super) fn took(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    pub(super) fn set_nodes(&self, nodes: &Snapshot) {
        let counts = nodes.count_by_runtime();
        for kind in [
            RuntimeKind::Containerd,
            RuntimeKind::Docker,
            RuntimeKind::CriO,
            RuntimeKind::Unknown,
        ] {
            let count = counts.get(&kind).copied().unwrap_or_default();
            let runtime = runtime_label(kind);
            self.nodes
                .get_or_create(&RuntimeLabels { runtime })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// All of them, in the OpenMetrics text format.
    pub(super) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The names of the policy file.
fn runtime_label(kind: RuntimeKind) -> &'static str {
    match kind {
        RuntimeKind::Containerd => "containerd",
        RuntimeKind::Docker => "docker",
        RuntimeKind::CriO => "cri-o",
        RuntimeKind::Unknown => "unknown",
    }
}
