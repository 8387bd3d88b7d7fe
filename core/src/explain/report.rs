//! The report on one pod, as printed in JSON and the source of the text output.

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
    /// The file that contains it.
    pub file: &'a str,
    /// The kind of the object that contains it.
    pub kind: &'a str,
    /// The name of that object.
    pub name: &'a str,
    /// The namespace that the decision is for.
    pub namespace: &'a str,
    /// Whether the pod was rendered from the object, as its controller would.
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
    /// The host socket that is mounted.
    pub socket: Option<String>,
    /// The most telling reason.
    pub reason: Option<ReasonReport>,
    /// The reasons for and against each strategy, in the order considered.
    pub findings: Vec<FindingReport>,
    /// The changes to the pod, one line each.
    pub injections: Vec<String>,
    /// The settings that were left out or adjusted.
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
    /// The number of nodes that could run it.
    pub candidates: usize,
    /// The number of known nodes.
    pub known: usize,
    /// The runtimes of the candidates, as text.
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
    /// Whether the reason is for the strategy, rather than against it.
    pub supports: bool,
    /// The reason.
    #[serde(flatten)]
    pub reason: ReasonReport,
}

impl<'a> Report<'a> {
    /// Creates the report on a pod that was evaluated in this cluster.
    #[must_use]
    pub fn new(
        file: &'a str,
        subject: &'a Subject,
        evaluated: &EvaluatedPod<'a>,
        cluster: Cluster<'a>,
    ) -> Self {
        let EvaluatedPod { pod, evaluation } = evaluated;
        let decision = &evaluation.decision;
        // For a pod that is left alone early these were not needed, but people want to see them.
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
            system: runner.as_ref().map(|runner| runner.system),
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
            summary: candidates.summary().to_string(),
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

/// Returns all containers of the pod with their roles, init containers first.
fn containers(pod: &Pod<'_>, runner: Option<&RunnerPod<'_>>) -> Vec<ContainerReport> {
    let init = pod.init_containers().iter().enumerate();
    let init = init.map(|(i, c)| (ContainerRef::Init(i), c));
    let plain = pod.containers().iter().enumerate();
    let plain = plain.map(|(i, c)| (ContainerRef::Container(i), c));
    init.chain(plain)
        .map(|(at, container)| ContainerReport {
            name: container.name.to_string(),
            kind: container_type(at, container),
            role: runner.map_or("other", |runner| role(at, runner)),
            image: container.image.as_deref().map(str::to_owned),
        })
        .collect()
}

fn container_type(at: ContainerRef, container: &Container<'_>) -> &'static str {
    match at {
        ContainerRef::Container(_) => "container",
        ContainerRef::Init(_) if container.is_native_sidecar() => "sidecar",
        ContainerRef::Init(_) => "init",
    }
}

fn role(at: ContainerRef, runner: &RunnerPod<'_>) -> &'static str {
    match runner.dockerd {
        _ if runner.clients.contains(&at) => "runner",
        Dockerd::Sidecar(dockerd) | Dockerd::InRunner(dockerd) if dockerd == at => "dockerd",
        _ => "other",
    }
}
