//! Recognises runner pods, and which of their containers plays which role.
//!
//! How each CI system's pods look is data: `policy::Recogniser` holds the built-in systems and those that a
//! policy adds.

mod address;
mod jobs;
mod marks;
#[cfg(test)]
mod tests;

use crate::{
    dockerd::{may_run_dockerd, runs_dockerd, starts_with_runner},
    pod::{Container, ContainerRef, Pod},
    policy::{Recogniser, values::Glob},
};
pub use address::DockerHost;
use jobs::{are_entered, gets_commands, have_service_pods, is_service, waits};
use marks::is_marked;

/// Annotation that names the container in which jobs run.
pub const RUNNER_CONTAINER: &str = "slipway.io/runner-container";
/// Annotation that names the container in which dockerd runs.
pub const DOCKERD_CONTAINER: &str = "slipway.io/dockerd-container";

/// How the names of containers that Slipway adds begin. No jobs run in them.
pub(crate) const OWN_CONTAINERS: &str = "slipway-";

/// The name of the system if annotations name the containers.
const BY_ANNOTATION: &str = "annotation";

/// A recognised runner pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerPod<'r> {
    /// The CI system.
    pub system: &'r str,
    /// The containers in which jobs run: the clients of docker and BuildKit. Empty only in a pod that serves a
    /// dockerd to the pods of jobs.
    pub clients: Vec<ContainerRef>,
    /// Where dockerd runs.
    pub dockerd: Dockerd,
    /// Whether more than one container has the name of a dockerd. If the first were taken out, the next would take
    /// its place.
    pub has_more_dockerds: bool,
    /// Whether jobs run commands in any container of the pod, so also in that of dockerd.
    pub jobs_enter_containers: bool,
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
    /// In the runner container, started by its entrypoint, a hook or the job.
    InRunner(ContainerRef),
    /// In the pod, but which container starts it cannot be told.
    Hidden,
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
    let dockerd = match dockerd {
        Some(place) if place == client => Dockerd::InRunner(place),
        Some(place) => Dockerd::Sidecar(place),
        None => find_dockerd(pod, &[client], &[]),
    };
    Some(RunnerPod {
        system: BY_ANNOTATION,
        clients: vec![client],
        dockerd,
        has_more_dockerds: false,
        jobs_enter_containers: false,
        kubernetes_mode: is_kubernetes_mode(pod, &[client], dockerd),
    })
}

/// Finds the containers by the names that the recogniser knows.
fn by_name<'r>(pod: &Pod<'_>, recogniser: &'r Recogniser) -> Option<RunnerPod<'r>> {
    let clients = find_clients(pod, recogniser);
    let named = pod.long_lived().filter(|(place, c)| {
        !clients.contains(place) && any_matches(&recogniser.dockerd_containers, &c.name)
    });
    let dockerd = find_dockerd(pod, &clients, &recogniser.dockerd_containers);
    let serves = matches!(dockerd, Dockerd::Sidecar(_)) && have_service_pods(&recogniser.name);
    if clients.is_empty() && !serves {
        return None;
    }
    Some(RunnerPod {
        system: &recogniser.name,
        has_more_dockerds: named.count() > 1,
        dockerd,
        jobs_enter_containers: are_entered(&recogniser.name),
        kubernetes_mode: is_kubernetes_mode(pod, &clients, dockerd),
        clients,
    })
}

fn any_matches(globs: &[Glob], name: &str) -> bool {
    globs.iter().any(|glob| glob.matches(name))
}

/// Finds the containers in which jobs run, by the names that the recogniser knows.
fn find_clients(pod: &Pod<'_>, recogniser: &Recogniser) -> Vec<ContainerRef> {
    let is_helper = |c: &Container<'_>| any_matches(&recogniser.helper_containers, &c.name);
    let matching = |accepts: &dyn Fn(&Container<'_>) -> bool| -> Vec<ContainerRef> {
        pod.long_lived()
            .filter(|(_, c)| !c.name.starts_with(OWN_CONTAINERS))
            .filter(|(place, c)| !is_service(pod, recogniser, *place, c))
            .filter(|(_, c)| !any_matches(&recogniser.dockerd_containers, &c.name))
            .filter(|(_, c)| any_matches(&recogniser.runner_containers, &c.name) && accepts(c))
            .map(|(place, _)| place)
            .collect()
    };
    // GitLab calls its dockerd `svc-0`, Jenkins lets users choose its name: a container that runs dockerd is not
    // the runner, whatever its name, unless there is no other.
    let is_client = |c: &Container<'_>| !is_helper(c) && !runs_dockerd(c);
    let waiting = |c: &Container<'_>| is_client(c) && waits(c);
    let commanded = |c: &Container<'_>| is_client(c) && gets_commands(c);
    let helper = |c: &Container<'_>| is_helper(c) && !runs_dockerd(c);
    let by_own_name = |c: &Container<'_>| !is_helper(c) && !recogniser.any_container();
    let choices: &[&dyn Fn(&Container<'_>) -> bool] = if are_entered(&recogniser.name) {
        // The other containers are services.
        &[&waiting, &helper, &is_client]
    } else {
        &[&commanded, &is_client, &helper, &by_own_name]
    };
    let mut found = choices.iter().map(|accepts| matching(accepts));
    found
        .find(|clients| !clients.is_empty())
        .unwrap_or_default()
}

/// Finds dockerd: in a client, else in another container by its name, else by its image or command, else by the
/// signs of one.
fn find_dockerd(pod: &Pod<'_>, clients: &[ContainerRef], names: &[Glob]) -> Dockerd {
    let in_runner = clients
        .iter()
        .copied()
        .find(|place| pod.container(*place).is_some_and(starts_with_runner));
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
        .map_or_else(
            || find_signs(pod, clients),
            |(place, _)| Dockerd::Sidecar(place),
        )
}

/// Finds a dockerd of which there are only signs. It can be told where it runs if one container alone has them.
fn find_signs(pod: &Pod<'_>, clients: &[ContainerRef]) -> Dockerd {
    let mut signs = pod.long_lived().filter(|(_, c)| may_run_dockerd(c));
    match (signs.next(), signs.next()) {
        (Some((place, _)), None) if clients.contains(&place) => Dockerd::InRunner(place),
        (Some((place, _)), None) => Dockerd::Sidecar(place),
        (Some(_), Some(_)) => Dockerd::Hidden,
        (None, _) => {
            let mut all = pod.long_lived();
            if all.any(|(_, c)| DockerHost::of(c, pod) == DockerHost::Pod) {
                Dockerd::Hidden
            } else {
                Dockerd::Absent
            }
        }
    }
}

/// Returns whether jobs run in pods of their own, which ARC's container hooks start. Beside a dockerd, the hooks
/// start containers.
fn is_kubernetes_mode(pod: &Pod<'_>, clients: &[ContainerRef], dockerd: Dockerd) -> bool {
    dockerd == Dockerd::Absent
        && clients.iter().any(|place| {
            pod.container(*place)
                .is_some_and(|c| c.env_var("ACTIONS_RUNNER_CONTAINER_HOOKS").is_some())
        })
}
