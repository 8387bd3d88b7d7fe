//! What needs attention in each section of the report, and what to do about it.

use serde::Serialize;

use super::sections::{
    CertificateStatus, MirrorStatus, NamespacesStatus, NodesStatus, PolicyStatus, WatchStatus,
};

/// A certificate that expires sooner should have been renewed long ago.
const RENEWAL_IS_LATE: i64 = 7 * 24 * 60 * 60;

/// A problem that somebody should look at.
#[derive(Debug, Serialize)]
pub(super) struct Attention {
    pub(super) severity: Severity,
    pub(super) message: String,
    /// What to do about it.
    pub(super) remedy: &'static str,
}

/// The severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Pods do not get what they should.
    Error,
    /// Pods may soon not get what they should.
    Warning,
}

impl Severity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Joins the problems of all sections, errors first.
pub(super) fn sorted(sections: impl IntoIterator<Item = Vec<Attention>>) -> Vec<Attention> {
    let mut all: Vec<Attention> = sections.into_iter().flatten().collect();
    all.sort_by_key(|attention| attention.severity);
    all
}

pub(super) fn readiness(not_ready_because: &[&str]) -> Vec<Attention> {
    let reasons = not_ready_because.iter();
    reasons
        .map(|reason| {
            error(
                format!("not ready: {reason}"),
                "wait a moment; if this persists, check the log",
            )
        })
        .collect()
}

pub(super) fn policy(policy: &PolicyStatus) -> Vec<Attention> {
    let invalid = policy.error.iter().map(|problem| {
        error(
            format!(
                "the policy file is invalid, so the last valid policy stays in force: {problem}"
            ),
            "fix the file; `slipway policy check FILE` validates it",
        )
    });
    let warnings = policy.warnings.iter().map(|text| {
        warning(
            format!("the policy: {text}"),
            "change this key of the policy, or keep it if this is what you want",
        )
    });
    invalid.chain(warnings).collect()
}

pub(super) fn namespaces(namespaces: Option<&NamespacesStatus>) -> Vec<Attention> {
    let Some(namespaces) = namespaces else {
        return Vec::new();
    };
    if namespaces.opted_in.is_empty() {
        return vec![warning(
            "no namespace has opted in, so no pods are changed".to_owned(),
            "kubectl label namespace RUNNERS slipway.io/inject=enabled",
        )];
    }
    let opted_in = namespaces.opted_in.iter();
    opted_in
        .filter_map(|namespace| {
            let problem = namespace.problem.as_ref()?;
            Some(warning(
                format!("namespace {}: {problem}", namespace.name),
                "change its label `slipway.io/profile`, or the policy",
            ))
        })
        .collect()
}

pub(super) fn certificate(certificate: &CertificateStatus) -> Vec<Attention> {
    let problem = certificate.problem.iter().map(|problem| {
        error(
            format!("a newer certificate cannot be obtained or used, so the last good one is served: {problem}"),
            "see docs/certificates.md for the mode in use",
        )
    });
    let expiry = match certificate.expires_in_seconds {
        Some(left) if left <= 0 => Some(error(
            "the certificate has expired, so the API server admits pods without Slipway".to_owned(),
            "see SlipwayCertificateExpires in docs/runbooks.md",
        )),
        Some(left) if left < RENEWAL_IS_LATE => Some(warning(
            format!(
                "the certificate expires in {} hours and has not been renewed",
                left / 3600
            ),
            "see SlipwayCertificateExpiresSoon in docs/runbooks.md",
        )),
        _ => None,
    };
    problem.chain(expiry).collect()
}

pub(super) fn watches(watches: &[WatchStatus]) -> Vec<Attention> {
    let stale = watches.iter().filter(|watch| watch.age_seconds > 0);
    stale
        .map(|watch| {
            warning(
                format!(
                    "the watch of {} is broken; the last answer is {} s old",
                    watch.resource, watch.age_seconds
                ),
                "see SlipwaySnapshotStale in docs/runbooks.md",
            )
        })
        .collect()
}

pub(super) fn mirrors(mirrors: &[MirrorStatus]) -> Vec<Attention> {
    let dead = mirrors.iter().filter(|mirror| mirror.up == Some(false));
    dead.map(|mirror| {
        warning(
            format!(
                "the registry mirror {} does not answer and is left out of new pods",
                mirror.url
            ),
            "see SlipwayMirrorDown in docs/runbooks.md",
        )
    })
    .collect()
}

pub(super) fn nodes(nodes: Option<&NodesStatus>) -> Vec<Attention> {
    let pools = nodes.iter().flat_map(|nodes| &nodes.pools);
    let unknown = pools.filter(|pool| pool.runtime == "unknown" && pool.restriction.is_none());
    match unknown.map(|pool| pool.nodes).sum() {
        0 => Vec::new(),
        unknown => vec![warning(
            format!(
                "nodes with an unknown runtime: {unknown}; pods that may run there get no host socket"
            ),
            "slipway nodes",
        )],
    }
}

fn error(message: String, remedy: &'static str) -> Attention {
    Attention {
        severity: Severity::Error,
        message,
        remedy,
    }
}

fn warning(message: String, remedy: &'static str) -> Attention {
    Attention {
        severity: Severity::Warning,
        message,
        remedy,
    }
}
