//! What there is to say of a pod: the JSON output, and the matter of the text.

use serde::Serialize;

use crate::{
    commands::input::{Facts, Looked, Subject},
    decide::{Finding, Outcome},
    pod::{Container, ContainerRef, Pod},
    reason::Reason,
    recognise::{Dockerd, RunnerPod, recognise},
};

/// All that is said of a pod.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    pub(super) file: &'a str,
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) rendered: bool,
    pub(super) system: Option<&'a str>,
    pub(super) containers: Vec<ContainerReport>,
    pub(super) nodes: NodesReport,
    pub(super) profile: Option<&'a str>,
    pub(super) strategy: &'static str,
    pub(super) socket: Option<String>,
    pub(super) reason: Option<ReasonReport>,
    pub(super) findings: Vec<FindingReport>,
    pub(super) injections: Vec<String>,
    pub(super) notes: Vec<ReasonReport>,
    pub(super) operations: usize,
}

/// A container and its role.
#[derive(Debug, Serialize)]
pub(super) struct ContainerReport {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) role: &'static str,
    pub(super) image: Option<String>,
}

/// The nodes that could run the pod.
#[derive(Debug, Serialize)]
pub(super) struct NodesReport {
    pub(super) candidates: usize,
    pub(super) known: usize,
    pub(super) summary: String,
}

/// A reason.
#[derive(Debug, Serialize)]
pub(super) struct ReasonReport {
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// A reason for or against a strategy.
#[derive(Debug, Serialize)]
pub(super) struct FindingReport {
    pub(super) strategy: &'static str,
    pub(super) supports: bool,
    #[serde(flatten)]
    pub(super) reason: ReasonReport,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        file: &'a str,
        subject: &'a Subject,
        looked: &Looked<'a>,
        facts: &'a Facts,
    ) -> Self {
        let Looked { pod, evaluation } = looked;
        let decision = &evaluation.decision;
        let candidates = facts.nodes().candidates(pod, facts.policy().node_pools());
        Self {
            file,
            kind: &subject.place.kind,
            name: &subject.place.name,
            namespace: &subject.namespace,
            rendered: subject.place.rendered,
            system: decision.system,
            containers: containers(pod, recognise(pod, facts.policy().recognisers()).as_ref()),
            nodes: NodesReport {
                candidates: candidates.nodes(),
                known: candidates.known_nodes(),
                summary: candidates.summary(),
            },
            profile: decision.profile,
            strategy: decision.strategy().as_str(),
            socket: match &decision.outcome {
                Outcome::Leave(_) => None,
                Outcome::Apply(plan) => plan.socket.clone(),
            },
            reason: decision.main_reason().map(ReasonReport::new),
            findings: decision.findings.iter().map(FindingReport::new).collect(),
            injections: evaluation
                .injections
                .iter()
                .map(ToString::to_string)
                .collect(),
            notes: evaluation.notes.iter().map(ReasonReport::new).collect(),
            operations: evaluation.patch.len(),
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
