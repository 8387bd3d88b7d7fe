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
fn a_scale_set_pod_has_either_form_of_labels() {
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
fn jobs_of_buildkite_run_in_all_containers_but_its_own_and_sidecars() {
    let labels = json!({"buildkite.com/job-uuid": "a"});
    let containers =
        json!([{"name": "build"}, {"name": "db"}, {"name": "agent"}, {"name": "checkout"}]);
    let mut pod = pod(labels, containers);
    pod["metadata"]["annotations"] = json!({"buildkite.com/sidecar-0": "db"});
    pod["spec"]["initContainers"] = json!([{"name": "cache", "restartPolicy": "Always"}]);
    assert_eq!(recognised(&pod, "{}").unwrap().1, 1);
    pod["metadata"]["annotations"] = json!({});
    assert_eq!(recognised(&pod, "{}").unwrap().1, 2);
    for container in [0, 3] {
        pod["spec"]["containers"][container]["env"] = json!([{"name": "BUILDKITE_CONTAINER_ID"}]);
    }
    assert_eq!(recognised(&pod, "{}").unwrap().1, 1);
}

#[test]
fn a_dockerd_may_serve_the_jobs_of_other_pods() {
    let dockerd = || json!([{"name": "wp-01", "image": "docker:28-dind"}]);
    let woodpecker = pod(json!({"woodpecker-ci.org/repo-id": "7"}), dockerd());
    assert_eq!(
        recognised(&woodpecker, "{}").unwrap(),
        (
            "woodpecker".to_owned(),
            0,
            Dockerd::Sidecar(ContainerRef::Container(0)),
            false
        )
    );
    let teamcity = pod(json!({"teamcity-agent": ""}), dockerd());
    assert_eq!(recognised(&teamcity, "{}"), None);
}

#[test]
fn the_runners_of_gitea_and_forgejo_are_known_by_their_image() {
    for (image, expected) in [
        ("docker.gitea.com/act_runner:0.2.13", true),
        ("gitea/act_runner", true),
        ("registry.example:5000/mirror/act_runner@sha256:00", true),
        ("code.forgejo.org/forgejo/runner:6.3.1", true),
        ("docker:28-dind", false),
        ("forgejo/forgejo:11", false),
    ] {
        let pod = pod(json!({}), json!([{"name": "a", "image": image}]));
        let system = recognised(&pod, "{}").map(|(system, ..)| system);
        assert_eq!(system.is_some(), expected, "{image}: {system:?}");
    }
}

#[test]
fn an_azure_agent_has_its_url_and_a_pool_or_a_token() {
    for (names, expected) in [
        (vec!["AZP_URL", "AZP_POOL"], true),
        (vec!["AZP_TOKEN", "AZP_URL"], true),
        (vec!["AZP_URL"], false),
        (vec!["AZP_POOL", "AZP_TOKEN"], false),
    ] {
        let env: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        let pod = pod(json!({}), json!([{"name": "a", "env": env}]));
        assert_eq!(recognised(&pod, "{}").is_some(), expected, "{names:?}");
    }
}

#[test]
fn argo_runs_the_commands_of_its_pods_behind_its_executor() {
    let executor = [
        "/var/run/argo/argoexec",
        "emissary",
        "--loglevel",
        "info",
        "--",
    ];
    let behind = |command: &'static str| [&executor[..], &[command]].concat();
    let containers = json!([
        {"name": "wait", "command": ["argoexec", "wait"]},
        {"name": "main", "image": "docker:28-cli", "command": behind("sh")},
        {"name": "dind", "image": "docker:28-dind", "command": behind("dockerd-entrypoint.sh")}]);
    let pod = pod(json!({"workflows.argoproj.io/workflow": "a"}), containers);
    assert_eq!(
        recognised(&pod, "{}").unwrap(),
        (
            "argo-workflows".to_owned(),
            1,
            Dockerd::Sidecar(ContainerRef::Container(2)),
            false
        )
    );
}

#[test]
fn legacy_pods_have_dockerd_in_a_sidecar_in_the_runner_or_nowhere() {
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
fn gitlabs_dind_service_is_dockerd_and_its_pause_pod_is_not_a_runner() {
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
    let pause =
        json!({"manager.runner.gitlab.com/id-short": "x", "runner.gitlab.com/pause-pod": "true"});
    assert_eq!(recognised(&pod(pause, containers), "{}"), None);
}

#[test]
fn jenkins_jobs_run_in_jnlp_only_if_there_is_no_other_container() {
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
fn all_containers_of_a_buildkite_job_but_its_helpers_are_clients() {
    let containers = json!([{"name": "agent"}, {"name": "container-0"}, {"name": "container-1"}, {"name": "checkout"}]);
    let (system, clients, ..) = recognised(
        &pod(json!({"buildkite.com/job-uuid": "u"}), containers),
        "{}",
    )
    .unwrap();
    assert_eq!((system.as_str(), clients), ("buildkite", 2));
}

#[test]
fn the_container_hooks_mean_kubernetes_mode() {
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
fn a_pod_without_containers_is_not_a_runner() {
    assert_eq!(
        recognised(
            &json!({"metadata": {"labels": {"actions-runner": ""}}}),
            "{}"
        ),
        None
    );
}
