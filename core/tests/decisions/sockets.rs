//! Sockets of the node: a pod that has a dockerd or builds elsewhere never gets one, and what was decided stays.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::properties::{World, all_containers, texts};

/// What says that a pod has a dockerd or builds elsewhere: changes of a container and of the pod's `spec`.
fn signs() -> impl Strategy<Value = (Value, Value)> {
    let nothing = || json!({});
    let of_container = |change: Value| (change, nothing());
    let variable =
        |name: &str, value: &str| of_container(json!({"env": [{"name": name, "value": value}]}));
    let privileged = json!({"privileged": true});
    select(vec![
        of_container(json!({"volumeMounts": [{"name": "work", "mountPath": "/var/lib/docker"}]})),
        of_container(json!({"command": ["tini", "--", "dockerd"]})),
        of_container(json!({"command": ["sh", "-c", "nohup dockerd & sleep infinity"]})),
        of_container(json!({"args": ["run", "--", "dockerd-entrypoint.sh"]})),
        of_container(json!({"command": ["/usr/bin/entrypoint-dind.sh"]})),
        of_container(json!({"lifecycle": {"postStart": {"exec": {"command": ["dockerd"]}}}})),
        of_container(json!({"image": "registry.example/infra/dind:28.3"})),
        of_container(json!({"image": "registry.example/runner-dind@sha256:00"})),
        of_container(json!({"image": "corp/own:1-dind-2"})),
        of_container(json!({"image": "docker:28", "securityContext": privileged, "args": null})),
        of_container(json!({"securityContext": privileged,
            "env": [{"name": "DOCKER_TLS_CERTDIR", "value": "/certs"}]})),
        variable("ACTIONS_RUNNER_HOOK_JOB_STARTED", "/hooks/start-dockerd.sh"),
        variable("DOCKER_IN_DOCKER", "start"),
        variable("DOCKERD_IN_RUNNER", "true"),
        variable("DOCKER_HOST", "tcp://localhost:2375"),
        variable("DOCKER_HOST", "tcp://127.0.0.1:2376"),
        variable("DOCKER_HOST", "tcp://docker.ci:2376"),
        variable("DOCKER_HOST", "ssh://ci@builder"),
        variable("BUILDKIT_HOST", "tcp://localhost:1234"),
        variable("BUILDKIT_HOST", "tcp://buildkitd.ci:1234"),
        (
            json!({"env": [{"name": "DOCKER_HOST", "value": "tcp://docker:2375"}]}),
            json!({"hostAliases": [{"ip": "127.0.0.1", "hostnames": ["docker"]}]}),
        ),
    ])
}

/// A runner pod without a dockerd and without signs of one.
fn plain_pod() -> impl Strategy<Value = Value> {
    let labels = select(vec![
        (json!({"actions-ephemeral-runner": "True"}), "runner"),
        (json!({"actions-runner": ""}), "runner"),
        (json!({"job.runner.gitlab.com/pod": "x"}), "build"),
        (json!({"buildkite.com/job-uuid": "u"}), "container-0"),
        (json!({"jenkins": "slave"}), "maven"),
    ]);
    (labels, any::<bool>()).prop_map(|((labels, name), privileged)| {
        let mut runner = json!({"name": name, "image": "corp/build:1", "tty": true});
        if privileged {
            runner["securityContext"] = json!({"privileged": true});
        }
        let mut helper = runner.clone();
        helper["name"] = json!("helper");
        json!({"metadata": {"name": "p", "labels": labels},
            "spec": {"containers": [runner, helper], "volumes": [
                {"name": "work", "emptyDir": {}}, {"name": "host", "hostPath": {"path": "/run"}},
                {"name": "containerd-sock", "emptyDir": {}}, {"name": "docker-sock", "emptyDir": {}}]}})
    })
}

/// A mount at, around or below the places of the sockets.
fn mount() -> impl Strategy<Value = Option<Value>> {
    let paths = select(vec![
        "/run",
        "/var/run/",
        "/run/containerd",
        "/run/containerd/containerd.sock",
        "/var/run/docker.sock",
        "/opt/slipway",
        "/opt/slipway/docker.sock",
        "/var/lib/docker",
    ]);
    let volumes = select(vec!["work", "host", "containerd-sock", "docker-sock"]);
    option::of((paths, volumes).prop_map(|(path, name)| json!({"name": name, "mountPath": path})))
}

fn policy() -> impl Strategy<Value = Value> {
    let strategy = select(vec!["auto", "containerd", "docker-socket"]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (strategy, flags).prop_map(|(strategy, (sockets, replaces, buildkitd, adds))| {
        json!({"profiles": {"default": {
            "strategy": strategy, "hostSockets": sockets, "replaceDockerd": replaces,
            "containerd": {"buildkitd": if buildkitd { json!({}) } else { json!(null) }},
            "dind": {"inject": if adds { "ifMissing" } else { "never" }},
        }}})
    })
}

fn node(runtime: &str) -> Value {
    json!({"metadata": {"name": "a"},
        "status": {"nodeInfo": {"containerRuntimeVersion": runtime, "kubeletVersion": "v1.33.0"}}})
}

/// Sets the fields of `changes`.
fn merge(object: &mut Value, changes: &Value) {
    for (field, value) in changes.as_object().unwrap() {
        object[field] = value.clone();
    }
}

fn has_socket(pod: &Value) -> bool {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes
        .into_iter()
        .any(|v| v["hostPath"]["type"] == json!("Socket"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn deciding_again_on_a_pod_with_signs_adds_nothing(
        (pod, signs) in (plain_pod(), vec(signs(), 0..3)),
        (dockerd, mount) in (any::<bool>(), mount()),
        policy in policy(),
        runtime in select(vec!["containerd://2.1", "docker://28.3"]),
    ) {
        let mut world = World { pod, policy, nodes: vec![node(runtime)], level: None, limits: vec![] };
        let spec = &mut world.pod["spec"];
        for (of_container, of_spec) in signs {
            merge(&mut spec["containers"][0], &of_container);
            merge(spec, &of_spec);
        }
        if let Some(mount) = mount {
            spec["containers"][0]["volumeMounts"] = json!([mount]);
        }
        if dockerd {
            let sidecar = json!({"name": "svc", "image": "docker:28-dind", "securityContext": {"privileged": true}});
            spec["containers"].as_array_mut().unwrap().push(sidecar);
        }
        let again = world.patch(&world.patched());
        prop_assert!(again.0.is_empty(), "{again:?}");
    }

    #[test]
    fn a_pod_that_says_where_it_builds_never_gets_a_socket(
        pod in plain_pod(),
        (of_container, of_spec) in signs(),
        runtime in select(vec!["containerd://2.1", "docker://28.3"]),
    ) {
        let policy = json!({"profiles": {"default": {"containerd": {"buildkitd": {}}}}});
        let mut world = World { pod, policy, nodes: vec![node(runtime)], level: None, limits: vec![] };
        let plain = world.patched();
        prop_assert!(has_socket(&plain), "{plain}");
        for container in all_containers(&plain) {
            let below_run = texts(&container["volumeMounts"], "mountPath").into_iter()
                .any(|path| path.starts_with("/run") || path.starts_with("/var/run"));
            prop_assert!(!below_run || container["securityContext"]["privileged"] != json!(true));
        }
        merge(&mut world.pod["spec"]["containers"][0], &of_container);
        merge(&mut world.pod["spec"], &of_spec);
        let patched = world.patched();
        prop_assert!(!has_socket(&patched), "{patched}");
        let names = texts(&Value::Array(all_containers(&patched)), "name");
        prop_assert!(!names.contains(&"slipway-buildkitd".to_owned()), "{names:?}");
    }
}
