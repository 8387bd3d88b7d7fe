//! The answer to a request: its body, and what the log, the metrics and Events say of it.

use std::collections::BTreeMap;

use super::{Evaluation, line::line, review::Response};
use crate::{
    cache::claims::LeaseResult,
    decide::{Outcome, Strategy},
    k8s::names::MAX_SUBDOMAIN,
    pod::{OwnerReference, Pod, Str},
    reason::Reason,
};

/// The longest text about a pod that was left alone, and about a request that cannot be read, in bytes.
const MAX_WHY: usize = 1024;
/// The code of a request that is answered without a decision.
const BAD_REQUEST: &str = "bad-request";

/// An answer for the API server.
#[derive(Debug)]
pub struct Answer {
    /// The AdmissionReview as JSON.
    pub body: Vec<u8>,
    /// The record for the log and the metrics.
    pub record: Record,
    /// The pod to report in an Event; never that of a dry run.
    pub left_alone: Option<LeftAlone>,
}

/// A record of a request, for the log and the metrics. Its texts come from strangers: each is one
/// short line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The request's uid.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, or its `generateName` with a star.
    pub pod: String,
    /// Whether the API server stores nothing.
    pub dry_run: bool,
    /// The CI system, if one was recognised.
    pub system: Option<String>,
    /// The profile, if one was selected.
    pub profile: Option<String>,
    /// The strategy.
    pub strategy: Strategy,
    /// The code of the most telling reason.
    pub reason: &'static str,
    /// The codes of all reasons for the chosen strategy and against better ones, each once.
    pub reasons: Vec<&'static str>,
    /// The number of operations in the patch.
    pub operations: usize,
    /// What is wrong with the request, if anything.
    pub problem: Option<String>,
}

/// A runner pod that was left alone for a reason that its owner can fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftAlone {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, or its `generateName` with a star.
    pub pod: String,
    /// The reason's code.
    pub reason: &'static str,
    /// What the owner can fix, as a sentence.
    pub why: String,
    /// The object that manages the pod.
    pub owner: Option<Owner>,
}

/// A reference to the object that manages a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its API version, such as `actions.github.com/v1alpha1`.
    pub api_version: String,
    /// Its kind, such as `EphemeralRunner`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Answer {
    /// Answers a request for a new pod.
    pub(super) fn new(
        uid: &str,
        namespace: &str,
        dry_run: bool,
        pod: &Pod<'_>,
        evaluation: Evaluation<'_>,
    ) -> Self {
        let decision = &evaluation.decision;
        let warnings = evaluation.warnings();
        let left_alone = if dry_run {
            None
        } else {
            LeftAlone::new(namespace, pod, &evaluation, &warnings)
        };
        let record = Record {
            uid: name(uid),
            namespace: name(namespace),
            pod: name(&pod.display_name()),
            dry_run,
            system: decision.system().map(str::to_owned),
            profile: decision.profile.map(str::to_owned),
            strategy: decision.strategy(),
            reason: decision.main_reason().map_or("none", Reason::code),
            reasons: decision.codes(),
            operations: evaluation.patch.len(),
            problem: None,
        };
        let response = Response {
            warnings,
            audit_annotations: evaluation.audit_annotations(),
            patch: evaluation.patch,
        };
        Self {
            body: response.to_json(uid),
            record,
            left_alone,
        }
    }

    /// Answers a request that Slipway cannot act on: the object stays unchanged, with a warning.
    pub(super) fn unchanged(uid: &str, namespace: &str, dry_run: bool, why: &str) -> Self {
        let why = line(why, MAX_WHY);
        let response = Response {
            warnings: vec![why.clone()],
            ..Response::default()
        };
        Self {
            body: response.to_json(uid),
            record: Record {
                uid: name(uid),
                namespace: name(namespace),
                pod: String::new(),
                dry_run,
                system: None,
                profile: None,
                strategy: Strategy::None,
                reason: BAD_REQUEST,
                reasons: vec![BAD_REQUEST],
                operations: 0,
                problem: Some(why),
            },
            left_alone: None,
        }
    }
}

impl LeftAlone {
    /// Describes a runner pod that was left alone; `None` if nobody can fix the reason.
    fn new(
        namespace: &str,
        pod: &Pod<'_>,
        evaluation: &Evaluation<'_>,
        warnings: &[String],
    ) -> Option<Self> {
        let decision = &evaluation.decision;
        let Outcome::Leave(reason) = &decision.outcome else {
            return None;
        };
        if decision.runner.is_none() || warnings.is_empty() {
            return None;
        }
        Some(Self {
            namespace: name(namespace),
            pod: name(&pod.display_name()),
            reason: reason.code(),
            why: line(&warnings.join("; "), MAX_WHY),
            owner: pod.metadata.controller().and_then(Owner::new),
        })
    }
}

impl Owner {
    /// Copies an owner reference; `None` if a part is longer than any real object's. Admission sees
    /// owner references before they are checked.
    fn new(owner: &OwnerReference<'_>) -> Option<Self> {
        let parts = [&owner.api_version, &owner.kind, &owner.name, &owner.uid];
        let fits = |part: &&Str<'_>| part.len() <= MAX_SUBDOMAIN;
        parts.iter().all(fits).then(|| Self {
            api_version: owner.api_version.to_string(),
            kind: owner.kind.to_string(),
            name: owner.name.to_string(),
            uid: owner.uid.to_string(),
        })
    }
}

impl Evaluation<'_> {
    /// Returns what the owner of the pod or of its namespace can fix, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.decision
            .reasons()
            .chain(&self.notes)
            .filter(|reason| reason.is_actionable())
            .map(ToString::to_string)
            .collect()
    }

    /// Returns the annotations for the API server's audit log: the decision, and every host path and
    /// privileged container that is granted.
    #[must_use]
    pub fn audit_annotations(&self) -> BTreeMap<&'static str, String> {
        let mut audit = BTreeMap::new();
        let decision = &self.decision;
        if decision.runner.is_none() {
            return audit;
        }
        audit.insert("strategy", decision.strategy().to_string());
        audit.insert("reasons", decision.codes().join(","));
        if let Some(profile) = decision.profile {
            audit.insert("profile", profile.to_owned());
        }
        if let Outcome::Apply(plan) = &decision.outcome
            && let Some(LeaseResult::Leased { claim, .. }) = &plan.lease
        {
            audit.insert("claim", claim.clone());
        }
        if !self.host_access.is_empty() {
            audit.insert("host-access", self.host_access.join(","));
        }
        audit
    }
}

/// Returns a uid, namespace or name for the log. The star of a `generateName` fits too.
fn name(text: &str) -> String {
    line(text, MAX_SUBDOMAIN + 1)
}
