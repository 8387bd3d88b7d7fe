//! What labels tell apart: each is an enum, so that their number is bounded.

use prometheus_client::encoding::EncodeLabelSet;

/// What can go wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The evaluation panicked.
    Panic,
    /// The body did not arrive in time, or the time was up before the request had its turn.
    Deadline,
    /// The body, or what it asks about, is not what a webhook is asked.
    BadRequest,
    /// The body is too large.
    TooLarge,
    /// A connection was closed at once, because there were too many.
    ConnectionLimit,
}

impl Problem {
    pub const ALL: [Self; 5] = [
        Self::Panic,
        Self::Deadline,
        Self::BadRequest,
        Self::TooLarge,
        Self::ConnectionLimit,
    ];

    pub fn code(self) -> &'static str {
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

impl Port {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Metrics => "metrics",
        }
    }
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
    pub const ALL: [Self; 4] = [
        Self::Published,
        Self::Suppressed,
        Self::Dropped,
        Self::Failed,
    ];

    pub fn code(self) -> &'static str {
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
    pub const ALL: [Self; 6] = [
        Self::Nodes,
        Self::Namespaces,
        Self::LimitRanges,
        Self::ResourceQuotas,
        Self::Claims,
        Self::Pods,
    ];
    /// What is watched in every cluster; the rest only where the policy has pools.
    pub const EVERYWHERE: [Self; 4] = [
        Self::Nodes,
        Self::Namespaces,
        Self::LimitRanges,
        Self::ResourceQuotas,
    ];

    /// The name of the resource in the Kubernetes API.
    pub fn resource(self) -> &'static str {
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
    pub const ALL: [Self; 7] = [
        Self::Warm,
        Self::Cold,
        Self::Exhausted,
        Self::Contended,
        Self::Timeout,
        Self::Failed,
        Self::Unknown,
    ];

    pub fn as_str(self) -> &'static str {
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

impl ClaimChange {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Released => "released",
            Self::Deleted => "deleted",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub system: String,
    pub strategy: &'static str,
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ProblemLabels {
    pub problem: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RuntimeLabels {
    pub runtime: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ResourceLabels {
    pub resource: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct MirrorLabels {
    pub mirror: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ClaimLabels {
    pub profile: String,
    pub state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PortLabels {
    pub port: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BuildLabels {
    pub version: &'static str,
}
