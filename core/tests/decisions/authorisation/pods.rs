//! Pods as an attacker writes them. A mutating webhook sees them before the API server checks names,
//! paths and lengths, so nothing here is too strange.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

/// Texts that mean something to a path, a shell, a label, or to Slipway.
pub fn text() -> impl Strategy<Value = String> {
    let chosen = vec![
        "",
        ".",
        "..",
        "/",
        "../../etc",
        "a/../../b",
        "all.pods",
        "arc-theirs",
        "theirs",
        "Theirs",
        "theirs.9c9e99c7675a7629",
        "$(reboot)",
        "`id`",
        "a\u{0}b",
        "a\nb\u{1b}[2J",
        "trusted",
        "slipway-docker-slots",
        "/run/containerd/containerd.sock",
        "unix:///../../run/containerd/containerd.sock",
        "0b7c5ab4-6c1f-4a3c-9d1e-5f2f4f7f0001",
    ];
    prop_oneof![
        4 => select(chosen).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => (1_usize..3000).prop_map(|n| "x".repeat(n)),
    ]
}

/// A map of some of these keys, with any text as value.
fn some_of(keys: &'static [&'static str]) -> impl Strategy<Value = Map<String, Value>> {
    let value = (select(keys), text());
    vec(value, 0..4).prop_map(|entries| {
        let entry = |(key, value): (&str, String)| (key.to_owned(), json!(value));
        entries.into_iter().map(entry).collect()
    })
}

fn labels() -> impl Strategy<Value = Value> {
    let system = select(vec![
        json!({"actions-ephemeral-runner": "True"}),
        json!({"actions-runner": ""}),
        json!({"job.runner.gitlab.com/pod": "x"}),
        json!({"buildkite.com/job-uuid": "u"}),
        json!({"jenkins": "slave"}),
        json!({}),
    ]);
    let more = some_of(&[
        "actions.github.com/scale-set-name",
        "runner-deployment-name",
        "runnerset-name",
        "project.runner.gitlab.com/id",
        "tag.buildkite.com/queue",
        "example.com/repo",
        "slipway.io/lease",
        "slipway.io/pool",
        "slipway.io/profile",
        "slipway.io/inject",
        "control-plane",
    ]);
    (system, more).prop_map(|(mut labels, more)| {
        labels.as_object_mut().unwrap().extend(more);
        labels
    })
}

fn annotations() -> impl Strategy<Value = Value> {
    let strategy = option::of(select(vec![
        "containerd",
        "docker-socket",
        "dind",
        "none",
        "auto",
        "Containerd",
    ]));
    let runner = option::of(select(vec!["runner", "bystander", "dind", "init"]));
    let dockerd = option::of(select(vec!["runner", "bystander", "dind"]));
    let more = some_of(&[
        "slipway.io/strategy",
        "slipway.io/cache-key",
        "slipway.io/daemon.json",
        "slipway.io/buildkitd.toml",
        "slipway.io/status",
        "slipway.io/profile",
        "slipway.io/lease",
        "slipway.io/host-access",
        "example.com/repo",
    ]);
    (strategy, runner, dockerd, more).prop_map(|(strategy, runner, dockerd, mut all)| {
        for (key, value) in [
            ("slipway.io/strategy", strategy),
            ("slipway.io/runner-container", runner),
            ("slipway.io/dockerd-container", dockerd),
        ] {
            if let Some(value) = value {
                all.insert(key.to_owned(), json!(value));
            }
        }
        Value::Object(all)
    })
}

/// Names of the volumes that Slipway adds, and of the pod's own.
const VOLUMES: [&str; 10] = [
    "slipway-docker-slots",
    "slipway-docker-slots-2",
    "slipway-docker-cache",
    "slipway-buildkit-cache",
    "slipway-docker-run",
    "slipway-buildkitd-cache",
    "containerd-sock",
    "docker-sock",
    "containerd-sock-evil",
    "work",
];

/// A mount, of a volume that may not be there.
fn mount() -> impl Strategy<Value = Value> {
    let path = select(vec![
        "/mnt",
        "/var/lib/docker",
        "/x/../var/lib/docker",
        "/home/runner/../../etc",
        "/opt/slipway",
        "/opt/slipway/slots",
        "/run",
        "/etc/docker",
        "/tmp/buildkit-cache",
        "relative",
        "//",
    ]);
    let part = select(vec![
        json!({}),
        json!({"subPath": "../../.."}),
        json!({"subPath": "lock-0"}),
        json!({"subPathExpr": "$(THEIRS)"}),
        json!({"mountPropagation": "Bidirectional"}),
    ]);
    (select(VOLUMES.to_vec()), path, part).prop_map(|(name, path, mut mount)| {
        mount["name"] = json!(name);
        mount["mountPath"] = json!(path);
        mount
    })
}

fn volumes() -> impl Strategy<Value = Value> {
    let source = select(vec![
        json!({"emptyDir": {}}),
        json!({"emptyDir": {}}),
        json!({"emptyDir": {}}),
        json!({"configMap": {"name": "mine"}}),
        json!({"persistentVolumeClaim": {"claimName": "slipway-default-0"}}),
        json!({"hostPath": {"path": "/"}}),
        json!({"hostPath": {"path": "/var/lib/slipway/ci/arc-theirs", "type": "DirectoryOrCreate"}}),
        json!({"hostPath": {"path": "/var/lib/slipway/theirs"}}),
        json!({"hostPath": {"path": "/run/containerd/containerd.sock", "type": ""}}),
    ]);
    vec((select(VOLUMES.to_vec()), source), 0..4).prop_map(|volumes| {
        let mut all: Vec<Value> = Vec::new();
        for (name, mut volume) in volumes {
            volume["name"] = json!(name);
            if !all.iter().any(|v| v["name"] == volume["name"]) {
                all.push(volume);
            }
        }
        Value::Array(all)
    })
}

fn container(name: &'static str) -> impl Strategy<Value = Value> {
    let image = select(vec![
        "docker:dind",
        "evil.example/docker:27-dind",
        "docker:dind-rootless",
        "ghcr.io/x/runner:1",
    ]);
    let words = select(vec![
        json!(null),
        json!(["dockerd", "--data-root=/x/../../etc"]),
        json!(["dockerd", "--data-root", "/data"]),
        json!(["sh", "-c", "dockerd --data-root /data"]),
        json!(["sh", "-c", "true", "slipway-start", "--", "dockerd"]),
        json!(["sleep", "1d"]),
    ]);
    let env = vec((select(vec!["DOCKER_HOST", "THEIRS", "MTU"]), text()), 0..3);
    let security = select(vec![
        json!(null),
        json!({"privileged": true}),
        json!({"privileged": false, "runAsUser": 1001, "runAsNonRoot": true}),
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}),
    ]);
    let flags = (any::<bool>(), any::<bool>());
    (image, words, env, vec(mount(), 0..3), security, flags).prop_map(
        move |(image, words, env, mut mounts, security, (as_command, in_runner))| {
            mounts.dedup_by(|a, b| a["mountPath"] == b["mountPath"]);
            let mut env: Vec<Value> = env
                .into_iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            if in_runner && name == "runner" {
                env.push(json!({"name": "DOCKERD_IN_RUNNER", "value": "true"}));
            }
            let words_are = if as_command { "command" } else { "args" };
            json!({"name": name, "image": image, words_are: words, "env": env,
                "volumeMounts": mounts, "securityContext": security})
        },
    )
}

/// A pod.
pub fn pod() -> impl Strategy<Value = Value> {
    let containers = (
        container("runner"),
        option::of(container("dind")),
        option::of(container("bystander")),
        option::of(container("init")),
        option::of(select(vec![
            "slipway-dind",
            "slipway-buildkitd",
            "slipway-cache-permissions",
        ])),
    );
    let spec = select(vec![
        json!({}),
        json!({"nodeName": "a"}),
        json!({"nodeName": "no-such-node"}),
        json!({"nodeSelector": {"pool": "a"}}),
        json!({"nodeSelector": {"pool": "d"}}),
        json!({"runtimeClassName": "gvisor"}),
        json!({"hostUsers": false}),
        json!({"hostPID": true, "hostNetwork": true, "serviceAccountName": "admin"}),
        json!({"securityContext": {"runAsUser": 1001, "supplementalGroups": [5]}}),
    ]);
    let native = any::<bool>();
    (labels(), annotations(), volumes(), containers, spec, native, text()).prop_map(
        |(labels, annotations, volumes, containers, mut spec, native, name)| {
            let (runner, dind, bystander, init, ours) = containers;
            let mut list = vec![runner];
            let mut inits: Vec<Value> = init.into_iter().collect();
            match dind {
                Some(mut dind) if native => {
                    dind["restartPolicy"] = json!("Always");
                    inits.push(dind);
                }
                dind => list.extend(dind),
            }
            list.extend(bystander);
            list.extend(ours.map(|name| json!({"name": name, "image": "evil.example/x:1"})));
            spec["containers"] = json!(list);
            spec["initContainers"] = json!(inits);
            spec["volumes"] = volumes;
            json!({"apiVersion": "v1", "kind": "Pod", "spec": spec, "metadata": {
                "generateName": name, "namespace": "theirs", "labels": labels, "annotations": annotations,
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x".repeat(5000),
                    "uid": "u", "controller": true}]}})
        },
    )
}
