//! The report on one pod: the JSON output, and the content of the text output.

use serde::Serialize;

use super::{EvaluatedPod, Subject};
use crate::{
    decide::{Cluster, Finding, Outcome},
    nodes::Candidates,
    pod::{Container, ContainerRef, Pod},
    reason::Reason,
    recognise::{Dockerd, RunnerPod, recognise},
};

/// A report on one pod.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// The file that holds it.
    pub file: &'a str,
    /// The kind of the resource that holds it.
    pub kind: &'a str,
    /// That resource's name.
    pub name: &'a str,
    /// The namespace that the decision is for.
    pub namespace: &'a str,
    /// Whether the pod is rendered from a resource as a controller would create it.
    pub rendered: bool,
    /// The CI system; `None` if the pod is not a runner.
    pub system: Option<&'a str>,
    /// Its containers.
    pub containers: Vec<ContainerReport>,
    /// The nodes that could run it.
    pub nodes: NodesReport,
    /// The profile, if one was selected.
    pub profile: Option<&'a str>,
    /// The strategy.
    pub strategy: &'static str,
    /// The mounted host socket.
    pub socket: Option<String>,
    /// The most telling reason.
    pub reason: Option<ReasonReport>,
    /// The reasons for and against each strategy, in the order considered.
    pub findings: Vec<FindingReport>,
    /// What is put into the pod, one line each.
    pub injections: Vec<String>,
    /// What was left out or changed on the way.
    pub notes: Vec<ReasonReport>,
    /// The number of operations in the patch.
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
    /// How many candidates there are.
    pub candidates: usize,
    /// How many nodes are known.
    pub known: usize,
    /// What the candidates run, as text.
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
    /// Whether the reason supports the strategy.
    pub supports: bool,
    /// The reason.
    #[serde(flatten)]
    pub reason: ReasonReport,
}

impl<'a> Report<'a> {
    /// Reports on a pod that was evaluated in this cluster.
    #[must_use]
    pub fn new(
        file: &'a str,
        subject: &'a Subject,
        evaluated: &EvaluatedPod<'a>,
        cluster: Cluster<'a>,
    ) -> Self {
        let EvaluatedPod { pod, evaluation } = evaluated;
        let decision = &evaluation.decision;
        // A pod that is left alone early is decided without these; people want to see them anyway.
        let runner = decision.runner.clone();
        let runner = runner.or_else(|| recognise(pod, cluster.policy.recognisers()));
        let candidates = decision.candidates.clone();
        let candidates = candidates.or_else(|| cluster.candidates(pod));
        Self {
            file,
            kind: &subject.location.kind,
            name: &subject.location.name,
            namespace: &subject.namespace,
            rendered: subject.location.rendered,
            system: decision.system(),
            containers: containers(pod, runner.as_ref()),
            nodes: NodesReport::new(candidates.as_ref()),
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
    fn new(candidates: Option<&Candidates<'_>>) -> Self {
        candidates.map_or_else(Self::default, |candidates| Self {
            candidates: candidates.nodes(),
            known: candidates.known_nodes(),
            summary: candidates.summary(),
        })
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
