//! Is this a runner pod, and which container plays which role?

use crate::{
    dockerd::runs_dockerd,
    pod::{Container, ContainerRef, Map, Pod, Str},
    policy::{Mark, Recogniser, values::Glob},
};

/// Annotation that names the container in which jobs run.
pub const RUNNER_CONTAINER: &str = "slipway.io/runner-container";
/// Annotation that names the container in which dockerd runs.
pub const DOCKERD_CONTAINER: &str = "slipway.io/dockerd-container";

/// Names that Slipway gives to the containers that it adds: never containers in which jobs run.
const OWN_CONTAINERS: &str = "slipway-";

/// The system's name when annotations name the containers.
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
    /// Whether more containers bear the name of a dockerd: were the first taken out, the next would
    /// stand in its place.
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

/// Recognises a runner pod; the annotations first, then `recognisers` in their order.
///
/// `None` when it is no runner pod, or none of its containers could run a job.
#[must_use]
pub fn recognise<'r>(pod: &Pod<'_>, recognisers: &'r [Recogniser]) -> Option<RunnerPod<'r>> {
    by_annotation(pod).or_else(|| {
        let recogniser = recognisers.iter().find(|r| is_marked(pod, r))?;
        by_name(pod, recogniser)
    })
}

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

fn by_name<'r>(pod: &Pod<'_>, recogniser: &'r Recogniser) -> Option<RunnerPod<'r>> {
    let any = |globs: &[Glob], name: &str| globs.iter().any(|glob| glob.matches(name));
    // GitLab calls its dockerd `svc-0`, Jenkins lets users choose: a name alone does not make a
    // container the runner when dockerd runs in it.
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

/// ARC's container hooks start a pod a job: nothing is built in the runner pod.
fn is_kubernetes_mode(pod: &Pod<'_>, clients: &[ContainerRef]) -> bool {
    clients.iter().any(|place| {
        pod.container(*place)
            .is_some_and(|c| c.env_var("ACTIONS_RUNNER_CONTAINER_HOOKS").is_some())
    })
}

fn is_marked(pod: &Pod<'_>, recogniser: &Recogniser) -> bool {
    recogniser.any_of.iter().any(|mark| has_mark(pod, mark))
        && !recogniser.none_of.iter().any(|mark| has_mark(pod, mark))
}

fn has_mark(pod: &Pod<'_>, mark: &Mark) -> bool {
    let containers = || pod.containers().iter().chain(pod.init_containers());
    let labels = pod.metadata.labels.as_ref();
    let has_label = |key: &str, value: Option<&str>| {
        let actual = labels.and_then(|labels: &Map<'_, Str<'_>>| labels.get(key));
        actual.is_some_and(|actual| value.is_none_or(|value| *actual == value))
    };
    let has_env = |name: &str, value: Option<&str>| {
        containers().any(|c| match value {
            Some(value) => c.env_value(name) == Some(value),
            None => c.env_var(name).is_some(),
        })
    };
    mark.labels.iter().all(|(k, v)| has_label(k, v.as_deref()))
        && mark.env.iter().all(|(k, v)| has_env(k, v.as_deref()))
        && mark.image.as_ref().is_none_or(|image| {
            containers().any(|c| c.image.as_deref().is_some_and(|i| image.matches(i)))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::Policy;

    fn recognised(pod: &Value, policy: &str) -> Option<(String, usize, Dockerd, bool)> {
        let text = pod.to_string();
        let policy = Policy::parse(policy).unwrap();
        let pod = Pod::parse(text.as_bytes()).unwrap();
        recognise(&pod, policy.recognisers()).map(|r| {
            (
                r.system.to_owned(),
                r.clients.len(),
                r.dockerd,
                r.kubernetes_mode,
            )
        })
    }

    #[allow(clippy::needless_pass_by_value, reason = "reads better in tests")]
    fn pod(labels: Value, containers: Value) -> Value {
        json!({"metadata": {"labels": labels}, "spec": {"containers": containers}})
    }

    #[test]
    fn scale_set_pods_are_told_by_either_label_form() {
        for labels in [
            json!({"actions-ephemeral-runner": "True"}),
            json!({"actions.github.com/scale-set-name": "x", "app.kubernetes.io/component": "runner"}),
        ] {
            let (system, ..) = recognised(&pod(labels, json!([{"name": "runner"}])), "{}").unwrap();
            assert_eq!(system, "arc-scale-set");
        }
        let listener = json!({"actions.github.com/scale-set-name": "x", "app.kubernetes.io/component": "runner-scale-set-listener"});
        assert_eq!(
            recognised(&pod(listener, json!([{"name": "listener"}])), "{}"),
            None
        );
    }

    #[test]
    fn a_native_sidecar_is_dockerd_and_a_plain_init_container_is_not() {
        let mut pod = pod(
            json!({"actions-ephemeral-runner": "True"}),
            json!([{"name": "runner"}]),
        );
        pod["spec"]["initContainers"] = json!([
            {"name": "init-dind-externals"},
            {"name": "dind", "image": "docker:dind", "restartPolicy": "Always"}]);
        assert_eq!(
            recognised(&pod, "{}").unwrap().2,
            Dockerd::Sidecar(ContainerRef::Init(1))
        );
        pod["spec"]["initContainers"][1]["restartPolicy"] = json!(null);
        assert_eq!(recognised(&pod, "{}").unwrap().2, Dockerd::Absent);
    }

    #[test]
    fn legacy_pods_have_dockerd_in_a_sidecar_in_the_runner_or_not_at_all() {
        let labels = json!({"actions-runner": ""});
        let sidecar = pod(
            labels.clone(),
            json!([{"name": "runner"}, {"name": "docker"}]),
        );
        assert_eq!(
            recognised(&sidecar, "{}").unwrap().2,
            Dockerd::Sidecar(ContainerRef::Container(1))
        );
        let inside = pod(
            labels.clone(),
            json!([{"name": "runner", "env": [{"name": "DOCKERD_IN_RUNNER", "value": "true"}]}]),
        );
        assert_eq!(
            recognised(&inside, "{}").unwrap().2,
            Dockerd::InRunner(ContainerRef::Container(0))
        );
        let none = pod(
            labels,
            json!([{"name": "runner", "env": [{"name": "DOCKERD_IN_RUNNER", "value": "false"}]}]),
        );
        assert_eq!(recognised(&none, "{}").unwrap().2, Dockerd::Absent);
    }

    #[test]
    fn gitlabs_service_with_dind_is_dockerd_and_its_pause_pod_is_nothing() {
        let containers = json!([{"name": "build"}, {"name": "helper"}, {"name": "svc-0", "image": "docker:27-dind"}]);
        let (system, clients, dockerd, _) = recognised(
            &pod(
                json!({"job.runner.gitlab.com/pod": "x"}),
                containers.clone(),
            ),
            "{}",
        )
        .unwrap();
        assert_eq!(
            (system.as_str(), clients, dockerd),
            ("gitlab", 1, Dockerd::Sidecar(ContainerRef::Container(2)))
        );
        let pause = json!({"manager.runner.gitlab.com/id-short": "x", "runner.gitlab.com/pause-pod": "true"});
        assert_eq!(recognised(&pod(pause, containers), "{}"), None);
    }

    #[test]
    fn jenkins_jobs_run_in_jnlp_only_when_there_is_no_other_container() {
        let labels = json!({"jenkins": "slave"});
        let both = pod(
            labels.clone(),
            json!([{"name": "jnlp"}, {"name": "maven"}, {"name": "docker", "image": "docker:dind"}]),
        );
        assert_eq!(recognised(&both, "{}").unwrap().1, 1);
        assert_eq!(
            recognised(&both, "{}").unwrap().2,
            Dockerd::Sidecar(ContainerRef::Container(2))
        );
        assert_eq!(
            recognised(&pod(labels, json!([{"name": "jnlp"}])), "{}")
                .unwrap()
                .1,
            1
        );
    }

    #[test]
    fn every_container_of_a_buildkite_job_is_a_client_but_its_helpers() {
        let containers = json!([{"name": "agent"}, {"name": "container-0"}, {"name": "container-1"}, {"name": "checkout"}]);
        let (system, clients, ..) = recognised(
            &pod(json!({"buildkite.com/job-uuid": "u"}), containers),
            "{}",
        )
        .unwrap();
        assert_eq!((system.as_str(), clients), ("buildkite", 2));
    }

    #[test]
    fn kubernetes_mode_is_told_by_the_container_hooks() {
        let containers = json!([{"name": "runner", "env": [{"name": "ACTIONS_RUNNER_CONTAINER_HOOKS", "value": "/x"}]}]);
        assert!(
            recognised(
                &pod(json!({"actions-ephemeral-runner": "True"}), containers),
                "{}"
            )
            .unwrap()
            .3
        );
    }

    #[test]
    fn annotations_name_the_containers_of_any_pod() {
        let mut pod = pod(json!({}), json!([{"name": "a"}, {"name": "b"}]));
        pod["metadata"]["annotations"] = json!({RUNNER_CONTAINER: "a", DOCKERD_CONTAINER: "b"});
        assert_eq!(
            recognised(&pod, "{}").unwrap().2,
            Dockerd::Sidecar(ContainerRef::Container(1))
        );
        pod["metadata"]["annotations"] = json!({RUNNER_CONTAINER: "a", DOCKERD_CONTAINER: "a"});
        assert_eq!(
            recognised(&pod, "{}").unwrap().2,
            Dockerd::InRunner(ContainerRef::Container(0))
        );
        pod["metadata"]["annotations"] = json!({RUNNER_CONTAINER: "absent"});
        assert_eq!(recognised(&pod, "{}"), None);
    }

    #[test]
    fn a_policy_can_add_a_system_by_label_variable_or_image() {
        let policy = "recognisers:\n- name: mine\n  anyOf: [{env: {MY_CI: null}}, {image: 'ci/*'}]\n  runnerContainers: [main]\n";
        let by_env = pod(
            json!({}),
            json!([{"name": "main", "env": [{"name": "MY_CI", "value": "1"}]}]),
        );
        let by_image = pod(json!({}), json!([{"name": "main", "image": "ci/x:1"}]));
        assert_eq!(recognised(&by_env, policy).unwrap().0, "mine");
        assert_eq!(recognised(&by_image, policy).unwrap().0, "mine");
        assert_eq!(recognised(&by_env, "{}"), None);
    }

    #[test]
    fn a_pod_without_containers_is_no_runner() {
        assert_eq!(
            recognised(
                &json!({"metadata": {"labels": {"actions-runner": ""}}}),
                "{}"
            ),
            None
        );
    }
}
