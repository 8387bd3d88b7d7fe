//! What there is to say of a pod: the JSON output, and the matter of the text.

use serde::Serialize;

use super::{Looked, Subject};
use crate::{
    decide::{Cluster, Finding, Outcome},
    pod::{Container, ContainerRef, Pod},
    reason::Reason,
    recognise::{Dockerd, RunnerPod, recognise},
};

/// All that is said of a pod.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// The file that it stands in.
    pub file: &'a str,
    /// The kind of the resource that holds it.
    pub kind: &'a str,
    /// That resource's name.
    pub name: &'a str,
    /// The namespace that was decided for.
    pub namespace: &'a str,
    /// Whether it is what a controller would make of that resource.
    pub rendered: bool,
    /// The CI system; `None` for a pod that is no runner.
    pub system: Option<&'a str>,
    /// Its containers.
    pub containers: Vec<ContainerReport>,
    /// The nodes that could run it.
    pub nodes: NodesReport,
    /// The policy's profile, when one was selected.
    pub profile: Option<&'a str>,
    /// The strategy.
    pub strategy: &'static str,
    /// The host socket that is mounted.
    pub socket: Option<String>,
    /// The reason that says most.
    pub reason: Option<ReasonReport>,
    /// For and against each strategy, in order.
    pub findings: Vec<FindingReport>,
    /// What is put into the pod, in words.
    pub injections: Vec<String>,
    /// What was left out or changed on the way.
    pub notes: Vec<ReasonReport>,
    /// How many operations the patch for the pod has.
    pub operations: usize,
}

/// A container and its role.
#[derive(Debug, Serialize)]
pub struct ContainerReport {
    /// Its name.
    pub name: String,
    /// `container`, `sidecar` or `init`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `runner`, `dockerd` or `other`.
    pub role: &'static str,
    /// Its image.
    pub image: Option<String>,
}

/// The nodes that could run the pod.
#[derive(Debug, Default, Serialize)]
pub struct NodesReport {
    /// How many they are.
    pub candidates: usize,
    /// How many nodes are known.
    pub known: usize,
    /// What they run, in words.
    pub summary: String,
}

/// A reason.
#[derive(Debug, Serialize)]
pub struct ReasonReport {
    /// Its stable code.
    pub code: &'static str,
    /// Its sentence.
    pub message: String,
}

/// A reason for or against a strategy.
#[derive(Debug, Serialize)]
pub struct FindingReport {
    /// The strategy.
    pub strategy: &'static str,
    /// Whether it speaks for the strategy.
    pub supports: bool,
    /// The reason.
    #[serde(flatten)]
    pub reason: ReasonReport,
}

impl<'a> Report<'a> {
    /// What there is to say of a pod that was looked at in this cluster.
    #[must_use]
    pub fn new(
        file: &'a str,
        subject: &'a Subject,
        looked: &Looked<'a>,
        cluster: Cluster<'a>,
    ) -> Self {
        let Looked { pod, evaluation } = looked;
        let decision = &evaluation.decision;
        Self {
            file,
            kind: &subject.location.kind,
            name: &subject.location.name,
            namespace: &subject.namespace,
            rendered: subject.location.rendered,
            system: decision.system,
            containers: containers(pod, recognise(pod, cluster.policy.recognisers()).as_ref()),
            nodes: NodesReport::new(pod, cluster),
            profile: decision.profile,
            strategy: decision.strategy().as_str(),
            socket: match &decision.outcome {
                Outcome::Leave(_) => None,
                Outcome::Apply(plan) => plan.socket.clone(),
            },
            reason: decision.main_reason().map(ReasonReport::new),
            findings: decision.findings.iter().map(FindingReport::new).collect(),
            injections: evaluation.changes.describe(),
            notes: evaluation.notes.iter().map(ReasonReport::new).collect(),
            operations: evaluation.patch.len(),
        }
    }
}

impl NodesReport {
    fn new(pod: &Pod<'_>, cluster: Cluster<'_>) -> Self {
        let Some(nodes) = cluster.nodes else {
            return Self::default();
        };
        let candidates = nodes.candidates(pod, cluster.policy.node_pools());
        Self {
            candidates: candidates.nodes(),
            known: candidates.known_nodes(),
            summary: candidates.summary(),
        }
    }
}

impl ReasonReport {
    fn new(reason: &Reason) -> Self {
        Self {
            code: reason.code(),
            message: reason.to_string(),
        }
    }
}

impl FindingReport {
    fn new(finding: &Finding) -> Self {
        Self {
            strategy: finding.strategy.as_str(),
            supports: finding.supports,
            reason: ReasonReport::new(&finding.reason),
        }
    }
}

fn containers(pod: &Pod<'_>, runner: Option<&RunnerPod<'_>>) -> Vec<ContainerReport> {
    let init = pod.init_containers().iter().enumerate();
    let init = init.map(|(i, c)| (ContainerRef::Init(i), c));
    let plain = pod.containers().iter().enumerate();
    let plain = plain.map(|(i, c)| (ContainerRef::Container(i), c));
    init.chain(plain)
        .map(|(place, container)| ContainerReport {
            name: container.name.to_string(),
            kind: container_type(place, container),
            role: runner.map_or("other", |runner| role(place, runner)),
            image: container.image.as_deref().map(str::to_owned),
        })
        .collect()
}

fn container_type(place: ContainerRef, container: &Container<'_>) -> &'static str {
    match place {
        ContainerRef::Container(_) => "container",
        ContainerRef::Init(_) if container.is_native_sidecar() => "sidecar",
        ContainerRef::Init(_) => "init",
    }
}

fn role(place: ContainerRef, runner: &RunnerPod<'_>) -> &'static str {
    match runner.dockerd {
        _ if runner.clients.contains(&place) => "runner",
        Dockerd::Sidecar(at) | Dockerd::InRunner(at) if at == place => "dockerd",
        _ => "other",
    }
}
