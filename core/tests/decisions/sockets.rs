//! A socket of the node is root on the node: a pod that has a dockerd or builds elsewhere never gets one.

use proptest::{prelude::*, sample::select};
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
            "spec": {"containers": [runner, helper], "volumes": [{"name": "work", "emptyDir": {}}]}})
    })
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
    fn a_pod_that_says_where_it_builds_never_gets_a_socket(
        pod in plain_pod(),
        (of_container, of_spec) in signs(),
        runtime in select(vec!["containerd://2.1", "docker://28.3"]),
    ) {
        let node = json!({"metadata": {"name": "a"},
            "status": {"nodeInfo": {"containerRuntimeVersion": runtime, "kubeletVersion": "v1.33.0"}}});
        let policy = json!({"profiles": {"default": {"containerd": {"buildkitd": {}}}}});
        let mut world = World { pod, policy, nodes: vec![node], level: None, limits: vec![] };
        let plain = world.patched();
        prop_assert!(has_socket(&plain), "{plain}");
        for container in all_containers(&plain) {
            let below_run = texts(&container["volumeMounts"], "mountPath").into_iter()
                .any(|path| path.starts_with("/run") || path.starts_with("/var/run"));
            prop_assert!(!below_run || container["securityContext"]["privileged"] != json!(true));
        }
        for (field, value) in of_container.as_object().unwrap() {
            world.pod["spec"]["containers"][0][field] = value.clone();
        }
        for (field, value) in of_spec.as_object().unwrap() {
            world.pod["spec"][field] = value.clone();
        }
        let patched = world.patched();
        prop_assert!(!has_socket(&patched), "{patched}");
        let names = texts(&Value::Array(all_containers(&patched)), "name");
        prop_assert!(!names.contains(&"slipway-buildkitd".to_owned()), "{names:?}");
    }
}
