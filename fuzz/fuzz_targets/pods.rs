//! Pods that are nearly right: whole ones, made of parts that matter.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use slipway_fuzz::invariants::{NODES, POLICIES, cluster, the_patch_applies_once};

#[derive(Debug, Arbitrary)]
struct Recipe {
    policy: u8,
    namespace: u8,
    labels: Vec<(u8, u8)>,
    annotations: Vec<(u8, u8)>,
    containers: Vec<ContainerRecipe>,
    init_containers: Option<Vec<ContainerRecipe>>,
    volumes: Option<Vec<(u8, u8)>>,
    spec: Vec<u8>,
    missing: u8,
}

#[derive(Debug, Arbitrary)]
struct ContainerRecipe {
    name: u8,
    image: u8,
    words: Option<Vec<u8>>,
    as_command: bool,
    env: Option<Vec<(u8, Option<u8>)>>,
    mounts: Option<Vec<(u8, u8)>>,
    resources: Option<Vec<(u8, u8, u8)>>,
    security: u8,
    native: bool,
    null: u8,
}

const LABELS: [&str; 10] = [
    "actions-ephemeral-runner",
    "actions-runner",
    "job.runner.gitlab.com/pod",
    "buildkite.com/job-uuid",
    "jenkins",
    "actions.github.com/scale-set-name",
    "app.kubernetes.io/component",
    "slipway.io/lease",
    "runner-deployment-name",
    "slipway.io/inject",
];
const ANNOTATIONS: [&str; 8] = [
    "slipway.io/strategy",
    "slipway.io/runner-container",
    "slipway.io/dockerd-container",
    "slipway.io/cache-key",
    "slipway.io/daemon.json",
    "slipway.io/buildkitd.toml",
    "slipway.io/status",
    "odd/~key",
];
const TEXTS: [&str; 16] = [
    "True",
    "",
    "runner",
    "dind",
    "docker",
    "container-0",
    "containerd",
    "docker-socket",
    "slave",
    "none",
    "unix:///run/docker.sock",
    "tcp://x:2375",
    "unix:///x/..",
    "true",
    "../..",
    "\u{1F980}~/\n",
];
const NAMES: [&str; 10] = [
    "runner",
    "dind",
    "docker",
    "build",
    "svc-0",
    "container-0",
    "jnlp",
    "slipway-dind",
    "slipway-buildkitd",
    "slipway-cache-permissions",
];
const IMAGES: [&str; 8] = [
    "docker:dind",
    "docker:20.10-dind",
    "r/docker:27-dind@sha256:0",
    "docker:dind-rootless",
    "corp/own:1",
    "",
    "::@",
    "ghcr.io/actions/actions-runner:2",
];
const WORDS: [&str; 24] = [
    "dockerd",
    "dockerd-entrypoint.sh",
    "sh",
    "-c",
    "dockerd --mtu 1400 $OPTS",
    "slipway-start",
    "--",
    "--mtu",
    "1400",
    "--mtu=1400",
    "--registry-mirror=https://a",
    "--registry-mirror",
    "--log-opt=max-size=1m",
    "--log-driver=journald",
    "--data-root=/data",
    "--data-root",
    "/x/../y",
    "-g",
    "--config-file=/x",
    "--storage-driver=vfs",
    "--default-network-opt=bridge=a=b",
    "$(ARGS)",
    "--",
    "-D",
];
const VARIABLES: [&str; 12] = [
    "DOCKER_HOST",
    "DOCKERD_IN_RUNNER",
    "DOCKER_BUILDKIT",
    "MTU",
    "DOCKER_ENABLED",
    "CONTAINERD_ADDRESS",
    "DOCKER_REGISTRY_MIRROR",
    "RUNNER_WAIT_FOR_DOCKER_IN_SECONDS",
    "ACTIONS_RUNNER_CONTAINER_HOOKS",
    "DOCKER_DRIVER",
    "A",
    "CI",
];
const VOLUMES: [&str; 8] = [
    "work",
    "slipway-docker-cache",
    "slipway-docker-slots",
    "containerd-sock",
    "docker-sock",
    "slipway-daemon-json",
    "slipway-docker-run",
    "slipway-buildkit-cache",
];
const PATHS: [&str; 14] = [
    "/",
    "/run",
    "/var/run",
    "/var/lib/docker",
    "/var/lib/docker/x",
    "/etc/docker",
    "/etc/docker/daemon.json",
    "/data",
    "/tmp/cache/",
    "/opt/slipway/slots",
    "/x/../var/lib/docker",
    "relative",
    "/run/containerd/containerd.sock",
    "/opt/slipway/docker",
];
const QUANTITIES: [&str; 10] = [
    "0",
    "50m",
    "1",
    "2",
    "64Mi",
    "1Gi",
    "1e3",
    "-1",
    "junk",
    "9999999999999999999999E",
];

fn pick<'t>(all: &[&'t str], at: u8) -> &'t str {
    all[usize::from(at) % all.len()]
}

fn map(keys: &[&str], entries: &[(u8, u8)]) -> Value {
    let entry =
        |(key, value): &(u8, u8)| (pick(keys, *key).to_owned(), json!(pick(&TEXTS, *value)));
    Value::Object(entries.iter().map(entry).collect())
}

fn source(at: u8) -> Value {
    match at % 6 {
        0 => json!({"emptyDir": {}}),
        1 => {
            json!({"hostPath": {"path": "/var/lib/slipway/ci/all.pods", "type": "DirectoryOrCreate"}})
        }
        2 => json!({"persistentVolumeClaim": {"claimName": "c"}}),
        3 => json!({"hostPath": {"path": "/run/containerd/containerd.sock", "type": "Socket"}}),
        4 => json!({"emptyDir": null}),
        _ => json!({"configMap": {"name": "m"}}),
    }
}

impl ContainerRecipe {
    fn make(&self) -> Value {
        let mut container =
            json!({"name": pick(&NAMES, self.name), "futureField": {"a/b": [{"c~d": 1}]}});
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                container[key] = value;
            }
        };
        put(
            "image",
            (self.image < 250).then(|| json!(pick(&IMAGES, self.image))),
        );
        let words = self.words.as_ref();
        let words = words.map(|words| {
            words
                .iter()
                .map(|word| pick(&WORDS, *word))
                .collect::<Vec<_>>()
        });
        put(
            if self.as_command { "command" } else { "args" },
            words.map(Value::from),
        );
        let env = self.env.as_ref().map(|env| {
            env.iter()
                .map(|(name, value)| match value {
                    Some(value) => {
                        json!({"name": pick(&VARIABLES, *name), "value": pick(&TEXTS, *value)})
                    }
                    None => json!({"name": pick(&VARIABLES, *name), "valueFrom": {"x": {}}}),
                })
                .collect::<Vec<_>>()
        });
        put("env", env.map(Value::from));
        let mounts = self.mounts.as_ref().map(|mounts| {
            let mount = |(name, path): &(u8, u8)| json!({"name": pick(&VOLUMES, *name), "mountPath": pick(&PATHS, *path)});
            mounts.iter().map(mount).collect::<Vec<_>>()
        });
        put("volumeMounts", mounts.map(Value::from));
        let resources = self.resources.as_ref().map(|all| {
            let mut resources = json!({});
            for (kind, name, quantity) in all {
                let kind = pick(&["requests", "limits"], *kind);
                let name = pick(&["cpu", "memory", "ephemeral-storage", "odd/~r"], *name);
                resources[kind][name] = json!(pick(&QUANTITIES, *quantity));
            }
            resources
        });
        put("resources", resources);
        put(
            "securityContext",
            match self.security % 4 {
                0 => None,
                1 => Some(json!({"privileged": true})),
                2 => Some(json!({"runAsUser": 1001})),
                _ => Some(Value::Null),
            },
        );
        put("restartPolicy", self.native.then(|| json!("Always")));
        let key =
            ["args", "command", "env", "volumeMounts", "resources"].get(usize::from(self.null));
        put(key.copied().unwrap_or("futureNull"), Some(Value::Null));
        container
    }
}

impl Recipe {
    fn make(&self) -> Value {
        let list = |recipes: &[ContainerRecipe]| {
            recipes
                .iter()
                .map(ContainerRecipe::make)
                .collect::<Vec<_>>()
        };
        let mut spec = Map::new();
        for part in &self.spec {
            let part = match part % 9 {
                0 => json!({"nodeSelector": {"pool": "a"}}),
                1 => json!({"affinity": {"podAffinity": {}}}),
                2 => json!({"affinity": {"nodeAffinity": null}}),
                3 => {
                    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                    {"nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}, {}]}}}})
                }
                4 => json!({"securityContext": {"supplementalGroups": [5], "runAsUser": 0}}),
                5 => json!({"securityContext": null}),
                6 => json!({"resources": {"limits": {"cpu": "1"}}}),
                7 => json!({"runtimeClassName": "gvisor"}),
                _ => json!({"nodeName": "b", "hostUsers": false}),
            };
            spec.extend(part.as_object().cloned().unwrap_or_default());
        }
        spec.insert("containers".to_owned(), list(&self.containers).into());
        if let Some(init) = &self.init_containers {
            spec.insert("initContainers".to_owned(), list(init).into());
        }
        if let Some(volumes) = &self.volumes {
            let volume = |(name, kind): &(u8, u8)| {
                let mut volume = source(*kind);
                volume["name"] = json!(pick(&VOLUMES, *name));
                volume
            };
            spec.insert("volumes".to_owned(), volumes.iter().map(volume).collect());
        }
        let metadata = json!({"name": "p", "labels": map(&LABELS, &self.labels),
            "annotations": map(&ANNOTATIONS, &self.annotations)});
        let mut pod = json!({"metadata": metadata, "spec": spec});
        match self.missing {
            0 => pod["metadata"]["annotations"] = Value::Null,
            1 => drop(
                pod["metadata"]
                    .as_object_mut()
                    .and_then(|m| m.remove("annotations")),
            ),
            2 => pod["metadata"]["labels"] = Value::Null,
            3 => pod["spec"]["volumes"] = Value::Null,
            _ => {}
        }
        pod
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(recipe) = Recipe::arbitrary_take_rest(Unstructured::new(bytes)) else {
        return;
    };
    let policies = &*POLICIES;
    let policy = &policies[usize::from(recipe.policy) % policies.len()];
    let namespace = pick(&["ci", "limited", "guarded", "unknown"], recipe.namespace);
    the_patch_applies_once(&recipe.make(), namespace, cluster(policy, &NODES));
});
