//! The whole way of a request, pure: AdmissionReview bytes in, AdmissionReview bytes out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    admission::review::{Request, Response, ReviewError, Subject},
    cache::{
        claims::{ClaimPoolKey, ClaimRequest, Lease, LeaseResult, choose::rank, is_lease_id},
        key::CacheKey,
    },
    decide::{Cluster, Decision, Outcome, Strategy, decide},
    inject::{Injections, STATUS, inject},
    patch::{Operations, PodChanges, operations},
    pod::{OwnerReference, Pod, Str},
    policy::values::LabelKey,
    reason::Reason,
};

/// No name in Kubernetes is longer, in bytes. A pod says who owns it before anybody checks that.
const MAX_OWNER_PART: usize = 253;

/// A pod looked at: the decision, and what follows from it.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// What is done, and why.
    pub decision: Decision<'a>,
    /// What changes in the pod.
    pub changes: PodChanges<'a>,
    /// What was left out or changed on the way.
    pub notes: Vec<Reason>,
    /// The operations; empty when there is nothing to do.
    pub patch: Operations,
    /// Whether a claim of the pool would have been injected, had anybody asked for one.
    pub wants_claim: bool,
    /// The paths of the host and the privileged containers that are granted.
    host_access: Vec<String>,
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
    /// The codes of what speaks for the chosen strategy and against better ones, each once.
    pub reasons: Vec<&'static str>,
    /// How many operations the patch has.
    pub operations: usize,
    /// What was wrong with the request, if something was.
    pub problem: Option<String>,
}

/// A runner pod that was left alone for a reason that its owner can mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftAlone {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, or its `generateName` with a star.
    pub pod: String,
    /// The reason's code.
    pub reason: &'static str,
    /// What could be mended, in words.
    pub why: String,
    /// The object that manages the pod.
    pub owner: Option<Owner>,
}

/// A reference to the object that manages a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Such as `actions.github.com/v1alpha1`.
    pub api_version: String,
    /// Such as `EphemeralRunner`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// An answer for the API server.
#[derive(Debug)]
pub struct Answer {
    /// The AdmissionReview as JSON.
    pub body: Vec<u8>,
    /// For the log and the metrics.
    pub record: Record,
    /// For an Event; never of a dry run.
    pub left_alone: Option<LeftAlone>,
    /// The claim that the pod should have: whoever can lease it does, and asks again with the
    /// [`LeaseResult`](crate::cache::claims::LeaseResult). The answer holds without that too. Never of a dry run.
    pub wish: Option<ClaimRequest>,
}

/// Decides on a pod of the namespace `namespace` and works out the patch.
#[must_use]
pub fn evaluate<'a>(pod: &Pod<'a>, namespace: &'a str, cluster: Cluster<'a>) -> Evaluation<'a> {
    let decision = decide(pod, namespace, cluster);
    let Injections {
        mut changes,
        notes,
        wants_claim,
    } = match &decision.outcome {
        Outcome::Leave(_) => Injections::default(),
        Outcome::Apply(plan) => inject(pod, plan),
    };
    // A pod that has everything already gets no patch: that is what reinvocation needs, and what
    // spares the API server the work.
    if !changes.is_empty() {
        changes.annotate(pod, STATUS, status(&decision).into());
    }
    let patch = operations(pod, &changes);
    Evaluation {
        host_access: changes.host_access(pod),
        decision,
        changes,
        notes,
        patch,
        wants_claim,
    }
}

/// The value of the status annotation, compact JSON.
fn status(decision: &Decision<'_>) -> String {
    let status = Status {
        strategy: decision.strategy().as_str(),
        profile: decision.profile,
        version: env!("CARGO_PKG_VERSION"),
        reasons: codes(decision),
    };
    serde_json::to_string(&status).unwrap_or_default()
}

#[derive(Serialize)]
struct Status<'s> {
    strategy: &'static str,
    profile: Option<&'s str>,
    version: &'static str,
    reasons: Vec<&'static str>,
}

/// The codes of what speaks for the chosen strategy and against better ones, each once.
fn codes(decision: &Decision<'_>) -> Vec<&'static str> {
    let mut codes: Vec<&'static str> = Vec::new();
    let left = match &decision.outcome {
        Outcome::Leave(reason) => Some(reason.code()),
        Outcome::Apply(_) => None,
    };
    let found = decision
        .findings
        .iter()
        .map(|finding| finding.reason.code());
    for code in left.into_iter().chain(found) {
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes
}

impl Evaluation<'_> {
    /// What the owner of the pod or of its namespace could mend.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let left = match &self.decision.outcome {
            Outcome::Leave(reason) => Some(reason),
            Outcome::Apply(_) => None,
        };
        let findings = self.decision.findings.iter().map(|finding| &finding.reason);
        left.into_iter()
            .chain(findings)
            .chain(&self.notes)
            .filter(|reason| reason.is_actionable())
            .map(ToString::to_string)
            .collect()
    }

    /// For the API server's audit log: what was decided, and each path of the host and each
    /// privileged container that was granted.
    #[must_use]
    pub fn audit_annotations(&self) -> BTreeMap<&'static str, String> {
        let mut audit = BTreeMap::new();
        let decision = &self.decision;
        if decision.system.is_none() {
            return audit;
        }
        audit.insert("strategy", decision.strategy().as_str().to_owned());
        audit.insert("reasons", codes(decision).join(","));
        if let Some(profile) = decision.profile {
            audit.insert("profile", profile.to_owned());
        }
        if let Outcome::Apply(plan) = &decision.outcome
            && let Some(LeaseResult::Leased { claim, .. }) = plan.grant
        {
            audit.insert("claim", claim.clone());
        }
        if !self.host_access.is_empty() {
            audit.insert("host-access", self.host_access.join(","));
        }
        audit
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

fn answer_pod<'a>(request: &'a Request<'a>, pod: &Pod<'a>, cluster: Cluster<'a>) -> Answer {
    let evaluation = evaluate(pod, &request.namespace, cluster);
    let decision = &evaluation.decision;
    let operations = evaluation.patch.len();
    let left_alone = left_alone(request, pod, &evaluation);
    let wish = wish(request, pod, &evaluation, cluster);
    let response = Response {
        warnings: evaluation.warnings(),
        audit_annotations: evaluation.audit_annotations(),
        patch: evaluation.patch,
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
            reasons: codes(decision),
            operations,
            problem: None,
        },
        left_alone,
        wish,
    }
}

/// What to ask the pool for, with the claims that the pod could have.
fn wish(
    request: &Request<'_>,
    pod: &Pod<'_>,
    evaluation: &Evaluation<'_>,
    cluster: Cluster<'_>,
) -> Option<ClaimRequest> {
    let Outcome::Apply(plan) = &evaluation.decision.outcome else {
        return None;
    };
    if !evaluation.wants_claim || request.dry_run || !is_lease_id(&request.uid) {
        return None;
    }
    let (profile, pool) = (
        evaluation.decision.profile?,
        plan.profile.dind.cache.claim_pool()?,
    );
    let key = CacheKey::of(pod, pool.key, pool.key_label.as_ref().map(LabelKey::as_str));
    let nodes = cluster
        .nodes
        .map(|nodes| nodes.candidates(pod, cluster.policy.node_pools()));
    let candidates = cluster.pools.claims.map(|claims| {
        let claims = claims.of_pool(&ClaimPoolKey::new(&request.namespace, profile));
        rank(claims, key.as_str(), pool.strict_keys, nodes.as_ref())
    });
    Some(ClaimRequest {
        namespace: request.namespace.to_string(),
        lease: Lease {
            id: request.uid.to_string(),
            pod: pod.display_name(),
        },
        key: key.to_string(),
        candidates,
    })
}

fn left_alone(
    request: &Request<'_>,
    pod: &Pod<'_>,
    evaluation: &Evaluation<'_>,
) -> Option<LeftAlone> {
    let decision = &evaluation.decision;
    let Outcome::Leave(reason) = &decision.outcome else {
        return None;
    };
    let why = evaluation.warnings().join("; ");
    if request.dry_run || decision.system.is_none() || why.is_empty() {
        return None;
    }
    Some(LeftAlone {
        namespace: request.namespace.to_string(),
        pod: pod.display_name(),
        reason: reason.code(),
        why,
        owner: pod.metadata.controller().and_then(owner),
    })
}

/// The owner, as the pod says it; `None` when no object could have such a name.
fn owner(owner: &OwnerReference<'_>) -> Option<Owner> {
    let parts = [&owner.api_version, &owner.kind, &owner.name, &owner.uid];
    let fits = |part: &&Str<'_>| part.len() <= MAX_OWNER_PART;
    parts.iter().all(fits).then(|| Owner {
        api_version: owner.api_version.to_string(),
        kind: owner.kind.to_string(),
        name: owner.name.to_string(),
        uid: owner.uid.to_string(),
    })
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
            reasons: vec!["bad-request"],
            operations: 0,
            problem: Some(why.to_owned()),
        },
        left_alone: None,
        wish: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        cache::claims::Pools,
        k8s::namespace::{INJECT, Namespace, Namespaces},
        nodes::Snapshot,
        policy::Policy,
    };

    fn answer(pod: &Value) -> (Value, Record) {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "operation": "CREATE", "namespace": "ci", "object": pod}});
        let namespaces = Namespaces::new([Namespace {
            name: "ci".to_owned(),
            labels: [(INJECT.to_owned(), "enabled".to_owned())].into(),
            ..Namespace::default()
        }]);
        let cluster = Cluster {
            nodes: Some(&Snapshot::default()),
            namespaces: &namespaces,
            policy: &Policy::parse("profiles: {default: {buildkit: {gc: {keepStorage: 20GB}}}}")
                .unwrap(),
            dead_mirrors: &[],
            pools: Pools::default(),
        };
        let answer = admit(review.to_string().as_bytes(), cluster).unwrap();
        (serde_json::from_slice(&answer.body).unwrap(), answer.record)
    }

    fn runner_pod(annotations: &Value, others: usize) -> Value {
        let mut containers = vec![
            json!({"name": "runner", "image": "x"}),
            json!({"name": "dind", "image": "docker:dind"}),
        ];
        containers.extend((0..others).map(|i| json!({"name": format!("c{i}"), "image": "x"})));
        json!({"metadata": {"name": "p", "labels": {"actions-ephemeral-runner": "True"}, "annotations": annotations},
            "spec": {"containers": containers}})
    }

    fn patched(pod: &Value, answer: &Value) -> Value {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let patch = STANDARD
            .decode(answer["response"]["patch"].as_str().unwrap())
            .unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        let mut pod = pod.clone();
        json_patch::patch(&mut pod, &patch).unwrap();
        pod
    }

    #[test]
    fn the_status_annotation_and_the_audit_log_say_what_was_done() {
        let pod = runner_pod(&json!(null), 0);
        let (answer, record) = answer(&pod);
        assert_eq!(record.strategy, Strategy::Dind);
        assert_eq!(answer["response"]["auditAnnotations"]["strategy"], "dind");
        let patched = patched(&pod, &answer);
        let status: Value =
            serde_json::from_str(patched["metadata"]["annotations"][STATUS].as_str().unwrap())
                .unwrap();
        assert_eq!(
            (&status["strategy"], &status["profile"]),
            (&json!("dind"), &json!("default"))
        );
    }

    #[test]
    fn a_pod_of_two_thousand_containers_is_left_alone() {
        let (answer, record) = answer(&runner_pod(&json!({}), 2_000));
        assert_eq!(
            (record.strategy, record.reason),
            (Strategy::None, "pod-too-large")
        );
        assert_eq!(answer["response"]["allowed"], true);
    }

    #[test]
    fn annotations_that_are_nearly_full_are_not_overfilled() {
        let pod = runner_pod(&json!({"a": "x".repeat(256 * 1024 - 60)}), 0);
        let (answer, _) = answer(&pod);
        let annotations = patched(&pod, &answer)["metadata"]["annotations"].clone();
        assert_eq!(
            annotations.as_object().unwrap().len(),
            1,
            "no room for daemon.json and status"
        );
        let warnings = answer["response"]["warnings"].to_string();
        assert!(warnings.contains("no room left"), "{warnings}");
    }

    #[test]
    fn a_megabyte_of_annotations_is_answered() {
        let (_, record) = answer(&runner_pod(&json!({"a": "x".repeat(1 << 20)}), 0));
        assert_eq!(record.strategy, Strategy::Dind);
    }

    #[test]
    fn odd_names_are_escaped_and_survive() {
        let mut pod = runner_pod(&json!({"a/b~c": "\u{1F980} \"quoted\" \n"}), 0);
        pod["metadata"]["labels"]["x/~1"] = json!("\u{2603}");
        let (answer, _) = answer(&pod);
        let patched = patched(&pod, &answer);
        assert_eq!(
            patched["metadata"]["annotations"]["a/b~c"],
            pod["metadata"]["annotations"]["a/b~c"]
        );
    }

    #[test]
    fn duplicate_volume_names_are_not_our_business() {
        let mut pod = runner_pod(&json!(null), 0);
        pod["spec"]["volumes"] =
            json!([{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]);
        let (answer, _) = answer(&pod);
        assert_eq!(
            patched(&pod, &answer)["spec"]["volumes"]
                .as_array()
                .unwrap()
                .len(),
            5
        );
    }
}
