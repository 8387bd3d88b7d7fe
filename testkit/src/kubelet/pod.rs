//! Pods: patched by Slipway, and read as the kubelet reads them.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use slipway_core::{
    admission::evaluate,
    decide::Cluster,
    k8s::namespace::{Namespace, Namespaces},
    nodes::Snapshot,
    pod::Pod,
    policy::Policy,
};

use crate::machine::Machine;

/// Returns the pod as Slipway patches it.
pub fn patched(pod: &Value, policy: &str, nodes: &str) -> Value {
    let policy = Policy::parse(policy).unwrap();
    let nodes: Value = serde_saphyr::from_str(nodes).unwrap();
    let nodes = nodes["items"].as_array().unwrap().clone();
    let snapshot = Snapshot::new(
        nodes
            .into_iter()
            .map(|node| serde_json::from_value(node).unwrap()),
    );
    let namespaces = Namespaces::new([Namespace {
        name: "ci".to_owned(),
        labels: [("slipway.io/inject".to_owned(), "enabled".to_owned())].into(),
        ..Namespace::default()
    }]);
    let cluster = Cluster {
        nodes: Some(&snapshot),
        namespaces: &namespaces,
        policy: &policy,
        dead_mirrors: &[],
        claims: None,
    };
    let text = pod.to_string();
    let patch = evaluate(&Pod::parse(text.as_bytes()).unwrap(), "ci", cluster).patch;
    let patch = patch.to_patch().unwrap();
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).unwrap();
    patched
}

/// Returns a scale-set pod with dockerd, as Slipway patches it with these `dind` settings.
pub fn runner_pod(dind: &Value) -> Value {
    let pod = json!({
        "metadata": {"name": "p", "labels": {
            "actions-ephemeral-runner": "True", "actions.github.com/scale-set-name": "build"}},
        "spec": {
            "initContainers": [{
                "name": "dind", "image": "docker:20.10-dind", "restartPolicy": "Always",
                "args": ["dockerd", "--host=unix:///var/run/docker.sock", "--group=$(DOCKER_GROUP_GID)"],
                "env": [{"name": "DOCKER_GROUP_GID", "value": "0"}],
                "securityContext": {"privileged": true},
                "volumeMounts": [{"name": "dind-sock", "mountPath": "/var/run"}],
            }],
            "containers": [{"name": "runner", "image": "ghcr.io/actions/actions-runner:latest"}],
            "volumes": [{"name": "dind-sock", "emptyDir": {}}],
        },
    });
    let policy = json!({"profiles": {"default": {"dind": dind}}});
    let nodes = include_str!("../../../examples/nodes/aks.yaml");
    patched(&pod, &policy.to_string(), nodes)
}

/// The directory of the node that holds the slots of [`runner_pod`].
pub const SLOTS: &str = "/var/lib/slipway/ci/arc-build";

/// Returns the container of a pod that runs dockerd.
pub fn dockerd_of(pod: &Value) -> Option<&Value> {
    let list = |key: &str| pod["spec"][key].as_array().into_iter().flatten();
    let is_privileged = |c: &&Value| c["securityContext"]["privileged"] == json!(true);
    let is_dind = |c: &&Value| {
        c["image"]
            .as_str()
            .is_some_and(|image| image.contains("dind"))
    };
    list("initContainers")
        .chain(list("containers"))
        .filter(is_privileged)
        .find(is_dind)
}

/// Returns the buildkitd container that Slipway adds.
pub fn buildkitd_of(pod: &Value) -> Option<&Value> {
    let list = |key: &str| pod["spec"][key].as_array().into_iter().flatten();
    list("initContainers")
        .chain(list("containers"))
        .find(|c| c["name"] == "slipway-buildkitd")
}

/// Creates the directory behind a volume of the pod, and returns its path. A claim is a directory of
/// the node.
pub fn volume(machine: &Machine, dir: &Path, pod: &Value, name: &str) -> PathBuf {
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let volume = volumes
        .iter()
        .find(|volume| volume["name"] == name)
        .unwrap();
    let claim = &volume["persistentVolumeClaim"]["claimName"];
    let path = match (volume["hostPath"]["path"].as_str(), claim.as_str()) {
        (Some(path), _) => machine.node_path(path),
        (None, Some(claim)) => machine.node_path("claims").join(claim),
        (None, None) => dir.join("volumes").join(name),
    };
    fs::create_dir_all(&path).unwrap();
    for item in volume["downwardAPI"]["items"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let field = item["fieldRef"]["fieldPath"].as_str().unwrap();
        let key = field.split('\'').nth(1).expect("an annotation");
        let text = pod["metadata"]["annotations"][key].as_str().unwrap();
        fs::write(path.join(item["path"].as_str().unwrap()), text).unwrap();
    }
    path
}

/// Returns the socket of the daemon, as its arguments say: `--host=` of dockerd, `--addr` of
/// buildkitd.
pub(super) fn socket(container: &Value) -> String {
    let words = words(container);
    let mut paths = words.iter().filter_map(|word| {
        word.strip_prefix("--host=")
            .unwrap_or(word)
            .strip_prefix("unix://")
    });
    paths.next().unwrap_or("/var/run/docker.sock").to_owned()
}

/// Returns the variables of a container that have literal values.
pub fn variables(container: &Value) -> HashMap<String, String> {
    let all = container["env"].as_array().into_iter().flatten();
    all.filter_map(|var| {
        Some((
            var["name"].as_str()?.to_owned(),
            var["value"].as_str()?.to_owned(),
        ))
    })
    .collect()
}

/// Returns the command line: `command`, or the image's entrypoint, and `args`, expanded as the kubelet
/// does.
pub(super) fn words(container: &Value) -> Vec<String> {
    let list = |key: &str| container[key].as_array().into_iter().flatten();
    let variables = variables(container);
    let mut words: Vec<String> = list("command")
        .chain(list("args"))
        .map(|word| expand(word.as_str().unwrap(), &variables))
        .collect();
    if list("command").next().is_none() {
        let image = container["image"].as_str().unwrap();
        let entrypoint = if image.starts_with("moby/buildkit") {
            "buildkitd"
        } else {
            "dockerd-entrypoint.sh"
        };
        words.insert(0, entrypoint.to_owned());
    }
    words
}

/// Replaces `$(NAME)` with the variable's value, if it has one, and `$$` with `$`.
fn expand(word: &str, variables: &HashMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let name = after
            .strip_prefix('(')
            .and_then(|name| name.split_once(')'));
        rest = if let Some(escaped) = after.strip_prefix('$') {
            expanded.push('$');
            escaped
        } else if let Some((value, after)) = name.and_then(|(n, a)| Some((variables.get(n)?, a))) {
            expanded.push_str(value);
            after
        } else {
            expanded.push('$');
            after
        };
    }
    expanded + rest
}
