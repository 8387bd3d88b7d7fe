//! Admission requests and connections.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use slipway_core::admission::Record;
use strum::{EnumIter, IntoEnumIterator, IntoStaticStr};

use super::{durations, register};

/// What can go wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub(crate) enum Problem {
    /// The evaluation panicked.
    Panic,
    /// The body did not arrive in time, or the request waited too long to be evaluated.
    Deadline,
    /// The body is not an AdmissionReview of a pod, or cannot be read.
    BadRequest,
    /// The body is too large.
    TooLarge,
    /// The connection was closed because there were too many.
    ConnectionLimit,
}

/// The port that a connection was made to.
#[derive(Debug, Clone, Copy, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub(crate) enum Port {
    /// The webhook port (HTTPS).
    Webhook,
    /// The metrics port (HTTP).
    Metrics,
}

/// Metrics of the server.
pub(crate) struct ServerMetrics {
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
    problems: Family<ProblemLabels, Counter>,
    connections: Family<PortLabels, Gauge>,
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
struct PortLabels {
    port: &'static str,
}

impl ServerMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: register(
                registry,
                "admission_requests",
                "Answered admission requests, by CI system, strategy and main reason",
                Family::default(),
            ),
            duration: register(
                registry,
                "admission_duration_seconds",
                "Time from a request's head to its answer",
                durations(),
            ),
            problems: register(
                registry,
                "admission_problems",
                "Requests and connections that went wrong, by problem",
                Family::default(),
            ),
            connections: register(
                registry,
                "connections",
                "Open connections, by port",
                Family::default(),
            ),
        };
        for problem in Problem::iter() {
            metrics.problem_counter(problem);
        }
        metrics
    }

    /// Counts an answered request.
    pub(crate) fn count_decision(&self, record: &Record) {
        let labels = RequestLabels {
            system: record.system.clone().unwrap_or_else(|| "none".to_owned()),
            strategy: record.strategy.as_str(),
            reason: record.reason,
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// Records how long an answer took.
    pub(crate) fn observe_duration(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    /// Counts a problem.
    pub(crate) fn count_problem(&self, problem: Problem) {
        self.problem_counter(problem).inc();
    }

    /// Returns the counter of a problem, for code that counts often.
    pub(crate) fn problem_counter(&self, problem: Problem) -> Counter {
        let problem = problem.into_str();
        self.problems
            .get_or_create_owned(&ProblemLabels { problem })
    }

    /// Returns the gauge of a port's open connections.
    pub(crate) fn open_connections(&self, port: Port) -> Gauge {
        let port = port.into_str();
        self.connections.get_or_create_owned(&PortLabels { port })
    }
}
