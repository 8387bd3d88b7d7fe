use serde_json::{Value, json};

use super::{ArcError, runner_pod};

/// A deployment with this spec for its runners.
fn deployment(spec: &Value) -> Value {
    json!({
        "apiVersion": "actions.summerwind.dev/v1alpha1",
        "kind": "RunnerDeployment",
        "metadata": {"name": "builders", "namespace": "ci"},
        "spec": {"replicas": 2, "template": {"spec": spec}},
    })
}

fn pod_of(spec: &Value) -> Value {
    runner_pod(&deployment(spec)).unwrap()
}

fn refusal_of(spec: &Value) -> String {
    runner_pod(&deployment(spec)).unwrap_err().to_string()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect()
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array()
        .unwrap()
        .iter()
        .find(|item| item["name"] == name)
        .unwrap_or(&Value::Null)
}

fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    named(&pod["spec"]["containers"], name)
}

fn env<'a>(pod: &'a Value, of: &str, name: &str) -> &'a Value {
    &named(&container(pod, of)["env"], name)["value"]
}

#[test]
fn a_plain_runner_gets_a_privileged_docker_sidecar() {
    let pod = pod_of(&json!({"organization": "acme", "labels": ["linux", "build"]}));
    let spec = &pod["spec"];
    assert_eq!(names(&spec["containers"]), ["runner", "docker"]);
    assert_eq!(names(&spec["volumes"]), ["runner", "work", "var-run"]);
    assert_eq!(
        named(&spec["volumes"], "var-run")["emptyDir"],
        json!({"medium": "Memory", "sizeLimit": "1M"})
    );
    assert_eq!(spec["restartPolicy"], "Never");

    let runner = container(&pod, "runner");
    assert_eq!(runner["image"], "summerwind/actions-runner:latest");
    assert_eq!(runner["imagePullPolicy"], "Always");
    assert_eq!(runner["securityContext"], json!({}));
    assert_eq!(
        names(&runner["volumeMounts"]),
        ["runner", "work", "var-run"]
    );
    assert_eq!(env(&pod, "runner", "RUNNER_ORG"), "acme");
    assert_eq!(env(&pod, "runner", "RUNNER_LABELS"), "linux,build");
    assert_eq!(env(&pod, "runner", "DOCKER_ENABLED"), "true");
    assert_eq!(env(&pod, "runner", "DOCKERD_IN_RUNNER"), "false");
    assert_eq!(
        env(&pod, "runner", "DOCKER_HOST"),
        "unix:///run/docker.sock"
    );
    assert_eq!(env(&pod, "runner", "RUNNER_NAME"), "builders-runner");

    let docker = container(&pod, "docker");
    assert_eq!(docker["image"], "docker:dind");
    assert_eq!(
        docker["args"],
        json!([
            "dockerd",
            "--host=unix:///run/docker.sock",
            "--group=$(DOCKER_GROUP_GID)"
        ])
    );
    assert_eq!(docker["securityContext"], json!({"privileged": true}));
    assert_eq!(
        names(&docker["volumeMounts"]),
        ["runner", "var-run", "work"]
    );
    assert_eq!(env(&pod, "docker", "DOCKER_GROUP_GID"), "1001");
}

#[test]
fn the_pod_reads_from_api_version_to_spec_and_carries_no_token() {
    let pod = pod_of(&json!({"organization": "acme"}));
    assert_eq!(
        pod.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["apiVersion", "kind", "metadata", "spec"]
    );
    assert!(!pod.to_string().contains("RUNNER_TOKEN"));
    assert_eq!(
        named(&container(&pod, "runner")["env"], "RUNNER_REPO"),
        &json!({"name": "RUNNER_REPO"})
    );
}

#[test]
fn labels_and_annotations_of_the_template_are_kept() {
    let mut owner =
        deployment(&json!({"githubAPICredentialsFrom": {"secretRef": {"name": "acme-app"}}}));
    owner["spec"]["template"]["metadata"] =
        json!({"labels": {"team": "web"}, "annotations": {"note": "x"}});
    let expected = json!({
        "name": "builders-runner",
        "namespace": "ci",
        "labels": {
            "team": "web",
            "runner-deployment-name": "builders",
            "actions-runner": "",
            "actions-runner-controller/inject-registration-token": "true",
        },
        "annotations": {"note": "x", "actions-runner/github-api-creds-secret": "acme-app"},
    });
    assert_eq!(runner_pod(&owner).unwrap()["metadata"], expected);
}

#[test]
fn a_runner_of_its_own_keeps_its_name_and_belongs_to_no_deployment() {
    let owner = json!({
        "apiVersion": "actions.summerwind.dev/v1alpha1",
        "kind": "Runner",
        "metadata": {"name": "solo", "labels": {"team": "web"}},
        "spec": {"repository": "acme/shop", "ephemeral": false},
    });
    let pod = runner_pod(&owner).unwrap();
    assert_eq!(pod["metadata"]["name"], "solo");
    assert_eq!(pod["metadata"]["labels"]["team"], "web");
    assert_eq!(
        pod["metadata"]["labels"].get("runner-deployment-name"),
        None
    );
    assert_eq!(pod["metadata"].get("namespace"), None);
    assert_eq!(env(&pod, "runner", "RUNNER_EPHEMERAL"), "false");
}

#[test]
fn dockerd_in_the_runner_takes_mtu_and_mirror_from_env() {
    let pod = pod_of(&json!({
        "image": "summerwind/actions-runner-dind:ubuntu-22.04",
        "dockerdWithinRunnerContainer": true,
        "dockerMTU": 1400,
        "dockerRegistryMirror": "https://mirror.gcr.io",
        "dockerdContainerResources": {"limits": {"cpu": "1"}},
    }));
    assert_eq!(names(&pod["spec"]["containers"]), ["runner"]);
    assert_eq!(names(&pod["spec"]["volumes"]), ["runner"]);
    assert_eq!(
        container(&pod, "runner")["securityContext"],
        json!({"privileged": true})
    );
    assert_eq!(container(&pod, "runner").get("resources"), None);
    assert_eq!(env(&pod, "runner", "MTU"), "1400");
    assert_eq!(
        env(&pod, "runner", "DOCKER_REGISTRY_MIRROR"),
        "https://mirror.gcr.io"
    );
    assert_eq!(env(&pod, "runner", "DOCKERD_IN_RUNNER"), "true");
    assert_eq!(env(&pod, "runner", "DOCKER_HOST"), &Value::Null);
}

#[test]
fn a_docker_sidecar_takes_mtu_and_mirror_from_arguments() {
    let pod = pod_of(&json!({
        "image": "acme/runner:ubuntu-22.04",
        "dockerMTU": 1400,
        "dockerRegistryMirror": "https://mirror.gcr.io",
        "dockerdContainerResources": {"limits": {"cpu": "1"}},
        "dockerEnv": [{"name": "TINI_SUBREAPER", "value": "1"}],
        "dockerVolumeMounts": [{"name": "cache", "mountPath": "/var/lib/docker"}],
    }));
    let docker = container(&pod, "docker");
    let args = docker["args"].as_array().unwrap();
    assert_eq!(
        args[2..],
        [
            "--group=$(DOCKER_GROUP_GID)",
            "--mtu",
            "1400",
            "--registry-mirror=https://mirror.gcr.io"
        ]
    );
    assert_eq!(
        names(&docker["env"]),
        [
            "TINI_SUBREAPER",
            "DOCKER_GROUP_GID",
            "DOCKERD_ROOTLESS_ROOTLESSKIT_MTU"
        ]
    );
    assert_eq!(env(&pod, "docker", "DOCKER_GROUP_GID"), "121");
    assert_eq!(docker["resources"], json!({"limits": {"cpu": "1"}}));
    assert_eq!(
        names(&docker["volumeMounts"]),
        ["cache", "runner", "var-run", "work"]
    );
    assert_eq!(env(&pod, "runner", "MTU"), &Value::Null);
}

#[test]
fn without_docker_there_is_no_sidecar_and_nothing_is_privileged() {
    let pod = pod_of(&json!({"dockerEnabled": false, "dockerMTU": 1400}));
    assert_eq!(names(&pod["spec"]["containers"]), ["runner"]);
    assert_eq!(names(&pod["spec"]["volumes"]), ["runner"]);
    assert_eq!(env(&pod, "runner", "DOCKER_ENABLED"), "false");
    assert_eq!(env(&pod, "runner", "MTU"), &Value::Null);
    assert!(!pod.to_string().contains("privileged"));
}

#[test]
fn kubernetes_mode_has_a_work_claim_hooks_and_no_docker() {
    let pod = pod_of(&json!({
        "containerMode": "kubernetes",
        "dockerdWithinRunnerContainer": true,
        "workVolumeClaimTemplate": {
            "storageClassName": "fast",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "10Gi"}},
        },
    }));
    assert_eq!(names(&pod["spec"]["containers"]), ["runner"]);
    assert_eq!(pod["spec"]["serviceAccountName"], "builders-runner");
    assert_eq!(
        names(&container(&pod, "runner")["volumeMounts"]),
        ["work", "runner"]
    );
    assert_eq!(
        env(&pod, "runner", "ACTIONS_RUNNER_CONTAINER_HOOKS"),
        "/runner/k8s/index.js"
    );
    assert_eq!(
        env(&pod, "runner", "ACTIONS_RUNNER_REQUIRE_SAME_NODE"),
        "true"
    );
    assert_eq!(env(&pod, "runner", "DOCKERD_IN_RUNNER"), "false");
    let claim = &named(&pod["spec"]["volumes"], "work")["ephemeral"]["volumeClaimTemplate"]["spec"];
    assert_eq!(claim["storageClassName"], "fast");
}

#[test]
fn kubernetes_mode_refuses_what_the_controller_refuses() {
    let mode = |more: &Value| {
        let mut spec = json!({
            "containerMode": "kubernetes",
            "workVolumeClaimTemplate": {"accessModes": ["ReadWriteMany"]},
        });
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        refusal_of(&spec)
    };
    assert!(
        mode(&json!({"workVolumeClaimTemplate": null}))
            .starts_with("spec.template.spec.workVolumeClaimTemplate: ")
    );
    assert!(
        mode(&json!({"volumes": [{"name": "work"}]})).starts_with("spec.template.spec.volumes: ")
    );
    assert!(
        mode(&json!({"volumeMounts": [{"name": "work"}]}))
            .starts_with("spec.template.spec.volumeMounts: ")
    );
    assert!(
        mode(&json!({"containers": [{"name": "other"}]}))
            .starts_with("spec.template.spec.containers: ")
    );
    let modes = json!({"workVolumeClaimTemplate": {"accessModes": ["ReadOnlyMany"]}});
    assert!(mode(&modes).starts_with("spec.template.spec.workVolumeClaimTemplate.accessModes: "));
}

#[test]
fn containers_that_the_user_gives_are_completed() {
    let pod = pod_of(&json!({
        "env": [{"name": "FROM_SPEC", "value": "1"}],
        "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}},
        "containers": [
            {"name": "proxy", "image": "acme/proxy"},
            {"name": "docker", "image": "docker:27-dind", "securityContext": {}, "args": ["--debug"], "env": [{"name": "DOCKER_GROUP_GID", "value": "7"}]},
            {"name": "runner", "image": "acme/runner", "resources": {"limits": {"cpu": "4"}}},
        ],
    }));
    assert_eq!(
        names(&pod["spec"]["containers"]),
        ["proxy", "docker", "runner"]
    );
    assert_eq!(
        container(&pod, "proxy"),
        &json!({"name": "proxy", "image": "acme/proxy"})
    );
    let docker = container(&pod, "docker");
    assert_eq!(docker["image"], "docker:27-dind");
    assert_eq!(docker["securityContext"], json!({}));
    assert_eq!(docker["args"][2], "--debug");
    assert_eq!(names(&docker["env"]), ["DOCKER_GROUP_GID"]);
    let runner = container(&pod, "runner");
    assert_eq!(runner["image"], "acme/runner");
    assert_eq!(env(&pod, "runner", "FROM_SPEC"), "1");
    assert_eq!(
        runner["resources"],
        json!({"limits": {"cpu": "4"}, "requests": {"cpu": "1"}})
    );
}

#[test]
fn containers_that_the_list_lacks_are_added_without_the_settings_beside_it() {
    let pod = pod_of(&json!({
        "env": [{"name": "FROM_SPEC", "value": "1"}],
        "dockerdContainerResources": {"limits": {"cpu": "1"}},
        "containers": [{"name": "proxy"}],
        "sidecarContainers": [{"name": "logs"}],
    }));
    assert_eq!(
        names(&pod["spec"]["containers"]),
        ["runner", "proxy", "docker", "logs"]
    );
    assert_eq!(env(&pod, "runner", "FROM_SPEC"), &Value::Null);
    assert_eq!(container(&pod, "docker").get("resources"), None);
}

#[test]
fn a_work_volume_of_the_user_replaces_the_controllers() {
    let pod = pod_of(&json!({
        "workDir": "/work",
        "volumes": [{"name": "work", "hostPath": {"path": "/mnt/work"}}],
        "volumeMounts": [{"name": "work", "mountPath": "/work"}, {"name": "extra", "mountPath": "/extra"}],
    }));
    assert_eq!(
        names(&pod["spec"]["volumes"]),
        ["runner", "var-run", "work"]
    );
    assert_eq!(
        named(&pod["spec"]["volumes"], "work")["hostPath"]["path"],
        "/mnt/work"
    );
    assert_eq!(
        names(&container(&pod, "runner")["volumeMounts"]),
        ["runner", "var-run", "work", "extra"]
    );
    assert_eq!(
        named(&container(&pod, "docker")["volumeMounts"], "work")["mountPath"],
        "/work"
    );
}

#[test]
fn an_se_linux_context_takes_the_place_of_privileges() {
    let options = json!({"type": "container_runtime_t"});
    let pod = pod_of(&json!({"securityContext": {"fsGroup": 1001, "seLinuxOptions": options}}));
    assert_eq!(
        container(&pod, "docker")["securityContext"],
        json!({"privileged": false, "seLinuxOptions": options})
    );
    assert_eq!(pod["spec"]["securityContext"]["fsGroup"], 1001);
}

#[test]
fn a_runner_volume_of_size_zero_is_left_out_unless_the_sidecar_needs_it() {
    let pod = pod_of(&json!({"dockerEnabled": false, "volumeSizeLimit": "0Gi"}));
    assert_eq!(pod["spec"].get("volumes"), None);
    assert!(
        refusal_of(&json!({"volumeSizeLimit": 0}))
            .starts_with("spec.template.spec.volumeSizeLimit: ")
    );
    let pod = pod_of(&json!({"volumeSizeLimit": "0.5Gi", "volumeStorageMedium": "Memory"}));
    let scratch = &named(&pod["spec"]["volumes"], "runner")["emptyDir"];
    assert_eq!(scratch, &json!({"medium": "Memory", "sizeLimit": "0.5Gi"}));
}

#[test]
fn fields_that_nobody_here_knows_survive_inside_containers_and_volumes() {
    let pod = pod_of(&json!({
        "containers": [{"name": "runner", "restartPolicyRules": [{"action": "Restart"}]}],
        "initContainers": [{"name": "warm", "restartPolicy": "Always", "fromTomorrow": 1}],
        "volumes": [{"name": "v", "newKind": {"deep": [true]}}],
        "tolerations": [{"key": "ci", "operator": "Exists"}],
        "runtimeClassName": "kata",
    }));
    assert_eq!(
        container(&pod, "runner")["restartPolicyRules"][0]["action"],
        "Restart"
    );
    assert_eq!(pod["spec"]["initContainers"][0]["fromTomorrow"], 1);
    assert_eq!(
        named(&pod["spec"]["volumes"], "v")["newKind"]["deep"][0],
        true
    );
    assert_eq!(pod["spec"]["tolerations"][0]["key"], "ci");
    assert_eq!(pod["spec"]["runtimeClassName"], "kata");
}

#[test]
fn a_wrong_type_is_an_error_that_names_the_field() {
    let refusals = [
        (
            json!({"dockerMTU": "abc"}),
            r#"spec.template.spec.dockerMTU: expected an integer, found "abc""#,
        ),
        (
            json!({"dockerEnabled": "yes"}),
            r#"spec.template.spec.dockerEnabled: expected true or false, found "yes""#,
        ),
        (
            json!({"labels": ["a", 1]}),
            "spec.template.spec.labels[1]: expected a string, found 1",
        ),
        (
            json!({"volumes": {}}),
            "spec.template.spec.volumes: expected a list, found an object",
        ),
        (
            json!({"containers": ["runner"]}),
            r#"spec.template.spec.containers[0]: expected an object, found "runner""#,
        ),
        (
            json!({"containers": [{"name": "runner", "env": "A=1"}]}),
            r#"spec.template.spec.containers[0].env: expected a list, found "A=1""#,
        ),
    ];
    for (spec, message) in &refusals {
        assert_eq!(refusal_of(spec), *message);
    }
}

#[test]
fn what_is_no_runner_or_has_no_name_is_an_error() {
    let service = json!({"apiVersion": "v1", "kind": "Service"});
    let found = "`v1` `Service`".to_owned();
    assert_eq!(runner_pod(&service), Err(ArcError::NotARunner { found }));
    let mut nameless = deployment(&json!({}));
    nameless["metadata"] = json!({});
    assert_eq!(
        runner_pod(&nameless).unwrap_err().to_string(),
        "metadata: expected an object, found nothing"
    );
    nameless["metadata"] = json!({"namespace": "ci"});
    assert_eq!(
        runner_pod(&nameless).unwrap_err().to_string(),
        "metadata.name: expected a string, found nothing"
    );
}
