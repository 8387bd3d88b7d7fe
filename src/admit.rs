//! The whole way of a request, pure: AdmissionReview bytes in, AdmissionReview bytes out.

use json_patch::Patch;

use crate::{
    decide::{Cluster, Decision, Outcome, Strategy, decide},
    inject::{Injection, inject},
    patch::operations,
    pod::Pod,
    reason::Reason,
    review::{Request, Response, ReviewError, Subject},
};

/// A pod looked at: the decision, and what follows from it.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// What is done, and why.
    pub decision: Decision<'a>,
    /// What is put into the pod, in words by `Display`.
    pub injections: Vec<Injection>,
    /// What was left out or changed on the way.
    pub notes: Vec<Reason>,
    /// The operations; empty when there is nothing to do.
    pub patch: Patch,
}

/// What the log and the metrics say of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The request's uid.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, or its `generateName` with a star.
    pub pod: String,
    /// Whether nothing was to be stored.
    pub dry_run: bool,
    /// The CI system, when one was recognised.
    pub system: Option<String>,
    /// The profile, when one was selected.
    pub profile: Option<String>,
    /// The strategy.
    pub strategy: Strategy,
    /// The code of the reason that says most.
    pub reason: &'static str,
    /// How many operations the patch has.
    pub operations: usize,
    /// What was wrong with the request, if something was.
    pub problem: Option<String>,
}

/// An answer for the API server.
#[derive(Debug)]
pub struct Answer {
    /// The AdmissionReview as JSON.
    pub body: Vec<u8>,
    /// For the log and the metrics.
    pub record: Record,
}

/// Decides on a pod of the namespace `namespace` and works out the patch.
#[must_use]
pub fn evaluate<'a>(pod: &Pod<'_>, namespace: &'a str, cluster: Cluster<'a>) -> Evaluation<'a> {
    let decision = decide(pod, namespace, cluster);
    let (injections, notes) = match &decision.outcome {
        Outcome::Leave(_) => (Vec::new(), Vec::new()),
        Outcome::Apply(plan) => {
            let injections = inject(pod, plan);
            (injections.list, injections.notes)
        }
    };
    let patch = operations(pod, &injections);
    Evaluation {
        decision,
        injections,
        notes,
        patch,
    }
}

/// Answers an AdmissionReview.
///
/// # Errors
/// When the body holds no request that could be answered; the API server never sends such a body.
pub fn admit(body: &[u8], cluster: Cluster<'_>) -> Result<Answer, ReviewError> {
    let request = Request::parse(body)?;
    Ok(match &request.subject {
        Subject::NewPod(pod) => answer_pod(&request, pod, cluster),
        Subject::NotForUs(why) | Subject::Unreadable(why) => answer_problem(&request, why),
    })
}

fn answer_pod(request: &Request<'_>, pod: &Pod<'_>, cluster: Cluster<'_>) -> Answer {
    let evaluation = evaluate(pod, &request.namespace, cluster);
    let decision = &evaluation.decision;
    let response = Response {
        patch: evaluation.patch.clone(),
        warnings: Vec::new(),
        audit_annotations: [].into(),
    };
    Answer {
        body: response.to_json(&request.uid),
        record: Record {
            uid: request.uid.to_string(),
            namespace: request.namespace.to_string(),
            pod: pod.display_name(),
            dry_run: request.dry_run,
            system: decision.system.map(str::to_owned),
            profile: decision.profile.map(str::to_owned),
            strategy: decision.strategy(),
            reason: decision.main_reason().map_or("none", Reason::code),
            operations: evaluation.patch.0.len(),
            problem: None,
        },
    }
}

fn answer_problem(request: &Request<'_>, why: &str) -> Answer {
    let response = Response {
        warnings: vec![why.to_owned()],
        ..Response::default()
    };
    Answer {
        body: response.to_json(&request.uid),
        record: Record {
            uid: request.uid.to_string(),
            namespace: request.namespace.to_string(),
            pod: String::new(),
            dry_run: request.dry_run,
            system: None,
            profile: None,
            strategy: Strategy::None,
            reason: "bad-request",
            operations: 0,
            problem: Some(why.to_owned()),
        },
    }
}
