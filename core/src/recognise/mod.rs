//! Recognises runner pods, and which of their containers plays which role.
//!
//! How each CI system's pods look is data: `policy::Recogniser` holds the built-in systems and those that a
//! policy adds.

mod marks;
#[cfg(test)]
mod tests;

use crate::{
    dockerd::runs_dockerd,
    pod::{Container, ContainerRef, Pod},
    policy::{Recogniser, values::Glob},
};
use marks::is_marked;

/// Annotation that names the container in which jobs run.
pub const RUNNER_CONTAINER: &str = "slipway.io/runner-container";
/// Annotation that names the container in which dockerd runs.
pub const DOCKERD_CONTAINER: &str = "slipway.io/dockerd-container";

/// How the names of containers that Slipway adds begin. No jobs run in them.
const OWN_CONTAINERS: &str = "slipway-";

/// The name of the system if annotations name the containers.
const BY_ANNOTATION: &str = "annotation";

/// A recognised runner pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerPod<'r> {
    /// The CI system.
    pub system: &'r str,
    /// The containers in which jobs run: the clients of docker and BuildKit. Never empty.
    pub clients: Vec<ContainerRef>,
    /// Where dockerd runs.
    pub dockerd: Dockerd,
    /// Whether more than one container has the name of a dockerd. If the first were taken out, the next would take
    /// its place.
    pub has_more_dockerds: bool,
    /// Whether jobs run in pods of their own (ARC's `containerMode: kubernetes`).
    pub kubernetes_mode: bool,
}

/// Where dockerd runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dockerd {
    /// Nowhere in the pod.
    Absent,
    /// In a container of its own.
    Sidecar(ContainerRef),
    /// In the runner container, started by its entrypoint.
    InRunner(ContainerRef),
}

/// Recognises a runner pod by its annotations or else by the first of the `recognisers` that matches.
///
/// Returns `None` if it is not a runner pod, or none of its containers could run a job.
#[must_use]
pub fn recognise<'r>(pod: &Pod<'_>, recognisers: &'r [Recogniser]) -> Option<RunnerPod<'r>> {
    by_annotation(pod).or_else(|| {
        let recogniser = recognisers.iter().find(|r| is_marked(pod, r))?;
        by_name(pod, recogniser)
    })
}

/// Finds the containers that annotations name.
fn by_annotation<'r>(pod: &Pod<'_>) -> Option<RunnerPod<'r>> {
    let runner = pod.metadata.annotation(RUNNER_CONTAINER)?;
    let named = |name: &str| pod.long_lived().find(|(_, c)| c.name == name);
    let (client, _) = named(runner)?;
    let dockerd = pod
        .metadata
        .annotation(DOCKERD_CONTAINER)
        .and_then(named)
        .map(|(place, _)| place);
    Some(RunnerPod {
        system: BY_ANNOTATION,
        clients: vec![client],
        dockerd: match dockerd {
            Some(place) if place == client => Dockerd::InRunner(place),
            Some(place) => Dockerd::Sidecar(place),
            None => find_dockerd(pod, &[client], &[]),
        },
        has_more_dockerds: false,
        kubernetes_mode: is_kubernetes_mode(pod, &[client]),
    })
}

/// Finds the containers by the names that the recogniser knows.
fn by_name<'r>(pod: &Pod<'_>, recogniser: &'r Recogniser) -> Option<RunnerPod<'r>> {
    let any = |globs: &[Glob], name: &str| globs.iter().any(|glob| glob.matches(name));
    // GitLab calls its dockerd `svc-0`, Jenkins lets users choose its name: a container that runs dockerd is not
    // the runner, whatever its name.
    let is_dockerd =
        |c: &Container<'_>| any(&recogniser.dockerd_containers, &c.name) || runs_dockerd(c);
    let matching = |with_helpers: bool| -> Vec<ContainerRef> {
        pod.long_lived()
            .filter(|(_, c)| !c.name.starts_with(OWN_CONTAINERS))
            .filter(|(_, c)| !is_dockerd(c) && any(&recogniser.runner_containers, &c.name))
            .filter(|(_, c)| with_helpers || !any(&recogniser.helper_containers, &c.name))
            .map(|(place, _)| place)
            .collect()
    };
    let mut clients = matching(false);
    if clients.is_empty() {
        clients = matching(true);
    }
    if clients.is_empty() {
        return None;
    }
    let named = pod.long_lived().filter(|(place, c)| {
        !clients.contains(place) && any(&recogniser.dockerd_containers, &c.name)
    });
    Some(RunnerPod {
        system: &recogniser.name,
        has_more_dockerds: named.count() > 1,
        dockerd: find_dockerd(pod, &clients, &recogniser.dockerd_containers),
        kubernetes_mode: is_kubernetes_mode(pod, &clients),
        clients,
    })
}

/// Finds dockerd: in a client, else in another container by its name, else by its image or command.
fn find_dockerd(pod: &Pod<'_>, clients: &[ContainerRef], names: &[Glob]) -> Dockerd {
    let in_runner = clients.iter().copied().find(|place| {
        pod.container(*place)
            .is_some_and(|c| c.env_value("DOCKERD_IN_RUNNER") == Some("true"))
    });
    if let Some(place) = in_runner {
        return Dockerd::InRunner(place);
    }
    let others = || {
        pod.long_lived()
            .filter(|(place, _)| !clients.contains(place))
    };
    let by_name = others().find(|(_, c)| names.iter().any(|glob| glob.matches(&c.name)));
    by_name
        .or_else(|| others().find(|(_, c)| runs_dockerd(c)))
        .map_or(Dockerd::Absent, |(place, _)| Dockerd::Sidecar(place))
}

/// Returns whether jobs run in pods of their own, which ARC's container hooks start.
fn is_kubernetes_mode(pod: &Pod<'_>, clients: &[ContainerRef]) -> bool {
    clients.iter().any(|place| {
        pod.container(*place)
            .is_some_and(|c| c.env_var("ACTIONS_RUNNER_CONTAINER_HOOKS").is_some())
    })
}
