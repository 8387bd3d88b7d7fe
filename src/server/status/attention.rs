//! What somebody should look at: each with what to do about it.

use serde::Serialize;

use super::report::Status;

/// A certificate that ends sooner should have been renewed long ago.
const RENEWAL_IS_LATE: i64 = 7 * 24 * 60 * 60;

/// Something that somebody should look at.
#[derive(Debug, Serialize)]
pub(super) struct Attention {
    pub(super) severity: Severity,
    /// What is the matter, a sentence.
    pub(super) message: String,
    /// What to do about it.
    pub(super) remedy: &'static str,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Pods do not get what they should.
    Error,
    /// It may come to that.
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

impl Attention {
    /// All that there is, errors first.
    pub(super) fn of(status: &Status) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let not_ready = status.not_ready_because.iter();
        all.extend(not_ready.map(|reason| {
            error(
                format!("not ready: {reason}"),
                "wait a moment; if it stays so, the log says why",
            )
        }));
        policy(status, &mut all);
        certificate(status, &mut all);
        knowledge(status, &mut all);
        all.sort_by_key(|attention| attention.severity);
        all
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

fn policy(status: &Status, all: &mut Vec<Attention>) {
    if let Some(problem) = &status.policy.error {
        all.push(error(
            format!(
                "the policy file cannot be used, and the last good one stays in force: {problem}"
            ),
            "mend the file; `slipway policy check FILE` says whether it would be accepted",
        ));
    }
    let warnings = status.policy.warnings.iter();
    all.extend(warnings.map(|text| {
        warning(
            format!("the policy: {text}"),
            "change that key of the policy, or leave it, knowing what it does",
        )
    }));
    let namespaces = status.namespaces.iter().flat_map(|known| &known.opted_in);
    all.extend(namespaces.filter_map(|namespace| {
        let problem = namespace.problem.as_ref()?;
        Some(warning(
            format!("namespace {}: {problem}", namespace.name),
            "change its label `slipway.io/profile`, or the policy",
        ))
    }));
    let none = |known: &super::report::NamespacesStatus| known.opted_in.is_empty();
    if status.namespaces.as_ref().is_some_and(none) {
        all.push(warning(
            "no namespace has opted in, so nothing is injected anywhere".to_owned(),
            "kubectl label namespace RUNNERS slipway.io/inject=enabled",
        ));
    }
}

fn certificate(status: &Status, all: &mut Vec<Attention>) {
    let certificate = &status.certificate;
    if let Some(problem) = &certificate.problem {
        all.push(error(
            format!("a newer certificate cannot be had or used, and the last good one is served: {problem}"),
            "see docs/certificates.md for the mode in use",
        ));
    }
    match certificate.expires_in_seconds {
        Some(left) if left <= 0 => all.push(error(
            "the certificate has expired, and the API server goes on without Slipway".to_owned(),
            "see SlipwayCertificateExpires in docs/runbooks.md",
        )),
        Some(left) if left < RENEWAL_IS_LATE => all.push(warning(
            format!(
                "the certificate expires in {} hours, and was not renewed",
                left / 3600
            ),
            "see SlipwayCertificateExpiresSoon in docs/runbooks.md",
        )),
        _ => {}
    }
}

fn knowledge(status: &Status, all: &mut Vec<Attention>) {
    let stale = status.watches.iter().filter(|watch| watch.age_seconds > 0);
    all.extend(stale.map(|watch| {
        warning(
            format!(
                "the watch of {} is broken; what is known is from {} s ago",
                watch.resource, watch.age_seconds
            ),
            "see SlipwaySnapshotStale in docs/runbooks.md",
        )
    }));
    let dead = status
        .mirrors
        .iter()
        .filter(|mirror| mirror.up == Some(false));
    all.extend(dead.map(|mirror| {
        warning(
            format!(
                "the registry mirror {} does not answer, and is left out of new pods",
                mirror.url
            ),
            "see SlipwayMirrorDown in docs/runbooks.md",
        )
    }));
    let pools = status.nodes.iter().flat_map(|nodes| &nodes.pools);
    let unknown = pools.filter(|pool| pool.runtime == "unknown" && pool.restriction.is_none());
    let unknown: usize = unknown.map(|pool| pool.nodes).sum();
    if unknown > 0 {
        all.push(warning(
            format!("nodes whose runtime is not known: {unknown}; pods that may run there get no host socket"),
            "slipway nodes",
        ));
    }
}
