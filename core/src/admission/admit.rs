//! The pipeline: from the bytes of a request to an evaluation, and on to its answer.

use serde::Serialize;

use super::{
    answer::Answer,
    review::{Request, ReviewError, Subject},
};
use crate::{
    cache::claims::{ClaimPoolKey, ClaimRequest, Lease, LeaseResult, choose::rank, is_lease_id},
    decide::{Cluster, Decision, Outcome, decide},
    inject::{Injections, STATUS, inject},
    patch::{Operations, PodChanges, operations},
    pod::{Pod, Str},
    reason::Reason,
};

/// The result of [`admit`].
#[derive(Debug)]
pub enum Admission<'a> {
    /// The answer is complete.
    Done(Box<Answer>),
    /// The pod should lease a claim of its pool first.
    NeedsClaim(Box<Pending<'a>>),
    /// The answer is "no" because of a namespace snapshot that may be outdated.
    InDoubt(Box<Doubt<'a>>),
}

/// An admission that is "no" only because the snapshot does not show that its namespace has opted in.
/// The API server calls for a namespace as soon as it is labelled, before a watch can show that.
#[derive(Debug)]
pub struct Doubt<'a>(PodAdmission<'a>);

/// An admission that waits for the result of a claim request.
#[derive(Debug)]
pub struct Pending<'a> {
    pod: PodAdmission<'a>,
    claim_request: ClaimRequest,
}

/// The admission of one pod: what was parsed of its request, and what is to be done.
#[derive(Debug)]
pub(super) struct PodAdmission<'a> {
    pub uid: Str<'a>,
    pub namespace: Str<'a>,
    pub dry_run: bool,
    pub pod: Box<Pod<'a>>,
    draft: Draft<'a>,
}

/// A decision with its injections, before they become a patch.
#[derive(Debug)]
pub struct Draft<'a> {
    decision: Decision<'a>,
    injections: Injections<'a>,
}

/// A decision about a pod, with everything that follows from it.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// What is done, and why.
    pub decision: Decision<'a>,
    /// What changes in the pod.
    pub changes: PodChanges<'a>,
    /// What was left out or changed on the way.
    pub notes: Vec<Reason>,
    /// The patch; empty if there is nothing to change.
    pub patch: Operations,
    /// The host paths and the privileged containers that are granted.
    pub(super) host_access: Vec<String>,
}

/// Admits a new pod: parses the request, decides, and answers. A pod that should lease a claim is
/// answered by its [`Pending`] admission.
///
/// # Errors
/// Returns an error if the body holds no request that could be answered. The API server never sends
/// such a body.
pub fn admit<'a>(body: &'a [u8], cluster: Cluster<'a>) -> Result<Admission<'a>, ReviewError> {
    let Request {
        uid,
        namespace,
        dry_run,
        subject,
    } = Request::parse(body)?;
    let pod = match subject {
        Subject::NewPod(pod) => pod,
        Subject::NotForUs(why) | Subject::Unreadable(why) => {
            let answer = Answer::unchanged(&uid, &namespace, dry_run, &why);
            return Ok(Admission::Done(Box::new(answer)));
        }
    };
    let draft = Draft::new(&pod, &namespace, cluster);
    let pod = PodAdmission {
        uid,
        namespace,
        dry_run,
        pod,
        draft,
    };
    Ok(if pod.draft.decision.namespace_in_doubt {
        Admission::InDoubt(Box::new(Doubt(pod)))
    } else {
        pod.settle(cluster)
    })
}

/// Evaluates a pod of the namespace `namespace` without leasing a claim.
#[must_use]
pub fn evaluate<'a>(pod: &Pod<'a>, namespace: &str, cluster: Cluster<'a>) -> Evaluation<'a> {
    Draft::new(pod, namespace, cluster).finish(pod)
}

impl<'a> Admission<'a> {
    /// Resolves a doubt about the namespace with the snapshot's answer. `cluster` is the one that the
    /// decision was made with.
    #[must_use]
    pub fn without_lookup(self, cluster: Cluster<'a>) -> Self {
        match self {
            Self::InDoubt(doubt) => doubt.as_it_is(cluster),
            settled => settled,
        }
    }

    /// Returns the answer without leasing a claim: a pod that should have one gets its pool's
    /// fallback.
    #[must_use]
    pub fn without_lease(self) -> Answer {
        match self {
            Self::Done(answer) => *answer,
            Self::NeedsClaim(pending) => pending.without_lease(),
            Self::InDoubt(doubt) => doubt.0.answer(),
        }
    }
}

impl<'a> Doubt<'a> {
    /// Returns the namespace to look up.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Takes the decision as it is. `cluster` is the one that it was made with.
    #[must_use]
    pub fn as_it_is(self, cluster: Cluster<'a>) -> Admission<'a> {
        self.0.settle(cluster)
    }

    /// Decides again, with a newer snapshot of the namespaces. The pod is not parsed again.
    #[must_use]
    pub fn decide_again<'b>(self, cluster: Cluster<'b>) -> Admission<'b>
    where
        'a: 'b,
    {
        let Self(PodAdmission {
            uid,
            namespace,
            dry_run,
            pod,
            draft: _,
        }) = self;
        let draft = Draft::new(&pod, &namespace, cluster);
        let pod = PodAdmission {
            uid,
            namespace,
            dry_run,
            pod,
            draft,
        };
        pod.settle(cluster)
    }
}

impl Pending<'_> {
    /// Returns the request for a claim.
    #[must_use]
    pub fn claim_request(&self) -> &ClaimRequest {
        &self.claim_request
    }

    /// Finishes the admission with the result of the claim request.
    #[must_use]
    pub fn with_lease(mut self, lease: LeaseResult) -> Answer {
        self.pod.draft = self.pod.draft.with_lease(&self.pod.pod, lease);
        self.pod.answer()
    }

    /// Finishes the admission with the pool's fallback.
    #[must_use]
    pub fn without_lease(self) -> Answer {
        self.pod.answer()
    }
}

impl<'a> PodAdmission<'a> {
    /// Answers, unless the pod should lease a claim first.
    fn settle(self, cluster: Cluster<'_>) -> Admission<'a> {
        match self.claim_request(cluster) {
            Some(claim_request) => Admission::NeedsClaim(Box::new(Pending {
                pod: self,
                claim_request,
            })),
            None => Admission::Done(Box::new(self.answer())),
        }
    }

    /// Returns the request for a claim, if the pod should have one. A dry run leases nothing.
    fn claim_request(&self, cluster: Cluster<'_>) -> Option<ClaimRequest> {
        let Draft {
            decision,
            injections,
        } = &self.draft;
        let Outcome::Apply(plan) = &decision.outcome else {
            return None;
        };
        if !injections.wants_claim || self.dry_run || !is_lease_id(&self.uid) {
            return None;
        }
        let profile = decision.profile?;
        let pool = plan.profile.dind.cache.claim_pool()?;
        let key = plan.cache_key.as_ref()?;
        let candidates = cluster.claims.map(|claims| {
            let claims = claims.of_pool(&ClaimPoolKey::new(&self.namespace, profile));
            let nodes = decision.candidates.as_ref();
            rank(claims, key.as_str(), pool.strict_keys, nodes)
        });
        Some(ClaimRequest {
            namespace: self.namespace.to_string(),
            lease: Lease {
                id: self.uid.to_string(),
                pod: self.pod.display_name(),
            },
            key: key.to_string(),
            candidates,
        })
    }

    fn answer(self) -> Answer {
        let evaluation = self.draft.finish(&self.pod);
        Answer::new(
            &self.uid,
            &self.namespace,
            self.dry_run,
            &self.pod,
            evaluation,
        )
    }
}

impl<'a> Draft<'a> {
    /// Decides about a pod of the namespace `namespace`, and works out its injections.
    #[must_use]
    pub fn new(pod: &Pod<'a>, namespace: &str, cluster: Cluster<'a>) -> Self {
        Self::from_decision(pod, decide(pod, namespace, cluster))
    }

    /// Adds the result of the pod's claim request. The decision stays as it is.
    #[must_use]
    pub fn with_lease(self, pod: &Pod<'a>, lease: LeaseResult) -> Self {
        let mut decision = self.decision;
        if let Outcome::Apply(plan) = &mut decision.outcome {
            plan.lease = Some(lease);
        }
        Self::from_decision(pod, decision)
    }

    fn from_decision(pod: &Pod<'a>, decision: Decision<'a>) -> Self {
        let injections = match &decision.outcome {
            Outcome::Leave(_) => Injections::default(),
            Outcome::Apply(plan) => inject(pod, plan),
        };
        Self {
            decision,
            injections,
        }
    }

    /// Turns the injections into a patch.
    #[must_use]
    pub fn finish(self, pod: &Pod<'_>) -> Evaluation<'a> {
        let Injections {
            mut changes, notes, ..
        } = self.injections;
        // A pod that has everything already gets no patch: reinvocation relies on that, and it saves
        // the API server work.
        if !changes.is_empty() {
            changes.annotate(pod, STATUS, status(&self.decision).into());
        }
        Evaluation {
            host_access: changes.host_access(pod),
            patch: operations(pod, &changes),
            decision: self.decision,
            changes,
            notes,
        }
    }
}

/// Returns the value of the status annotation, as compact JSON.
fn status(decision: &Decision<'_>) -> String {
    let status = Status {
        strategy: decision.strategy().as_str(),
        profile: decision.profile,
        version: env!("CARGO_PKG_VERSION"),
        reasons: decision.codes(),
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        admission::Record,
        decide::Strategy,
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
            claims: None,
        };
        let review = review.to_string();
        let answer = admit(review.as_bytes(), cluster).unwrap().without_lease();
        (serde_json::from_slice(&answer.body).unwrap(), answer.record)
    }

    fn runner_pod(annotations: &Value, others: usize) -> Value {
        let mut containers = vec![
            json!({"name": "runner", "image": "x"}),
            json!({"name": "dind", "image": "docker:dind", "securityContext": {"privileged": true}}),
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
    fn the_status_annotation_and_the_audit_log_tell_what_was_done() {
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
        assert!(warnings.contains("would exceed 256 KiB"), "{warnings}");
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
    fn duplicate_volume_names_are_left_to_the_api_server() {
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
