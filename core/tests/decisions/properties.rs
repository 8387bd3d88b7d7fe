//! Invariants over generated pods, nodes and policies.

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Map, Value, json};
use slipway_core::{
    admission::{admit, evaluate},
    decide::Cluster,
    k8s::namespace::{Namespace, Namespaces},
    nodes::Snapshot,
    pod::Pod,
    policy::Policy,
};

/// Everything that a decision depends on.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub pod: Value,
    pub policy: Value,
    pub nodes: Vec<Value>,
    pub level: Option<&'static str>,
    pub limits: Vec<Value>,
}

impl World {
    fn with<T>(&self, look: impl FnOnce(Cluster<'_>) -> T) -> T {
        let policy = Policy::parse(&self.policy.to_string()).unwrap();
        let nodes = self
            .nodes
            .iter()
            .map(|n| serde_json::from_value(n.clone()).unwrap());
        let nodes = Snapshot::new(nodes);
        let mut labels = [("slipway.io/inject".to_owned(), "enabled".to_owned())].to_vec();
        if let Some(level) = self.level {
            labels.push((
                "pod-security.kubernetes.io/enforce".to_owned(),
                level.to_owned(),
            ));
        }
        let limits = self
            .limits
            .iter()
            .map(|l| serde_json::from_value(l.clone()).unwrap());
        let namespaces = Namespaces::new([Namespace {
            name: "ci".to_owned(),
            labels: labels.into_iter().collect(),
            limits: limits.collect(),
            ..Namespace::default()
        }]);
        look(Cluster {
            nodes: Some(&nodes),
            namespaces: &namespaces,
            policy: &policy,
            dead_mirrors: &[],
            claims: None,
        })
    }

    pub fn patch(&self, pod: &Value) -> json_patch::Patch {
        let text = pod.to_string();
        self.with(|cluster| {
            evaluate(&Pod::parse(text.as_bytes()).unwrap(), "ci", cluster)
                .patch
                .to_patch()
                .unwrap()
        })
    }

    pub fn patched(&self) -> Value {
        let mut patched = self.pod.clone();
        json_patch::patch(&mut patched, &self.patch(&self.pod)).unwrap();
        patched
    }
}

fn labels() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"actions-ephemeral-runner": "True"}),
        json!({"actions-runner": ""}),
        json!({"job.runner.gitlab.com/pod": "x", "odd/~key": "v"}),
        json!({"buildkite.com/job-uuid": "u"}),
        json!({"jenkins": "slave"}),
        json!({"app": "web"}),
    ])
}

fn args() -> impl Strategy<Value = Value> {
    let flags = select(vec![
        "--mtu=1400",
        "--mtu",
        "1400",
        "--registry-mirror=https://own",
        "--log-driver=journald",
        "--log-opt=max-size=1m",
        "--data-root=/data",
        "--storage-driver=vfs",
        "--config-file=/x",
        "--insecure-registry=a",
        "-D",
        "--default-network-opt=bridge=a=b",
        "--host=unix:///run/docker.sock",
    ]);
    let start = select(vec![
        None,
        Some("dockerd"),
        Some("sh"),
        Some("dockerd-entrypoint.sh"),
    ]);
    (start, vec(flags, 0..5))
        .prop_map(|(start, flags)| json!(start.into_iter().chain(flags).collect::<Vec<_>>()))
}

fn env() -> impl Strategy<Value = Value> {
    let all = vec![
        json!({"name": "DOCKER_HOST", "value": "unix:///run/docker.sock"}),
        json!({"name": "DOCKERD_IN_RUNNER", "value": "true"}),
        json!({"name": "DOCKER_BUILDKIT", "value": "0"}),
        json!({"name": "MTU", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}),
        json!({"name": "CONTAINERD_ADDRESS", "value": "/x"}),
        json!({"name": "DOCKER_DRIVER", "value": "vfs"}),
        json!({"name": "RUNNER_REPO"}),
    ];
    subsequence(all, 0..=7).prop_map(Value::Array)
}

fn mounts() -> impl Strategy<Value = Value> {
    let paths = vec![
        "/run",
        "/var/run",
        "/var/lib/docker",
        "/var/lib/docker/overlay2",
        "/etc/docker",
        "/data",
        "/etc/docker/daemon.json",
        "/tmp/buildkit-cache/",
        "/home/runner/_work",
        "/opt/slipway",
        "/run/containerd/containerd.sock",
    ];
    let names = select(vec![
        "work",
        "run",
        "slipway-docker-cache",
        "containerd-sock",
    ]);
    (subsequence(paths, 0..=4), names).prop_map(|(paths, name)| {
        json!(
            paths
                .into_iter()
                .map(|p| json!({"name": name, "mountPath": p, "x": 1}))
                .collect::<Vec<_>>()
        )
    })
}

fn resources() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!(null),
        json!({"requests": {"cpu": "50m"}, "claims": []}),
        json!({"requests": null, "limits": {"cpu": "100m", "memory": "64Mi"}}),
        json!({"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"cpu": "4"}}),
    ])
}

/// A list, or no key, or null: all of them are legal for an empty list.
fn maybe(inner: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    prop_oneof![Just(None), Just(Some(Value::Null)), inner.prop_map(Some)].boxed()
}

fn container(name: &'static str, image: &'static str) -> impl Strategy<Value = Value> {
    let fields = (
        maybe(args()),
        maybe(env()),
        maybe(mounts()),
        maybe(resources()),
    );
    let uid = option::of(select(vec![0, 1001]));
    (fields, uid, any::<bool>()).prop_map(
        move |((args, env, mounts, resources), uid, privileged)| {
            let mut c = Map::new();
            c.insert("name".into(), json!(name));
            c.insert("image".into(), json!(image));
            c.insert(
                "futureField".into(),
                json!({"a/b": [1, {"c~d": "\u{1F980}"}]}),
            );
            for (key, value) in [
                ("args", args),
                ("env", env),
                ("volumeMounts", mounts),
                ("resources", resources),
            ] {
                if let Some(value) = value {
                    c.insert(key.into(), value);
                }
            }
            if let Some(uid) = uid {
                c.insert(
                    "securityContext".into(),
                    json!({"runAsUser": uid, "privileged": privileged}),
                );
            }
            Value::Object(c)
        },
    )
}

fn pod() -> impl Strategy<Value = Value> {
    let runner = select(vec!["runner", "build", "container-0", "maven"])
        .prop_flat_map(|n| container(n, "ghcr.io/x:1"));
    let dockerd = select(vec![
        ("docker", "docker:dind"),
        ("dind", "docker:20.10-dind"),
        ("svc-0", "corp/docker:27-dind"),
        ("dind", "corp/own:1"),
        ("dind", "docker:dind-rootless"),
    ])
    .prop_flat_map(|(n, i)| container(n, i));
    let place = select(vec!["none", "container", "native"]);
    let spec = select(vec![
        json!({}),
        json!({"nodeSelector": {"pool": "a"}}),
        json!({"affinity": {"podAffinity": {}}}),
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}, {}]}}}}),
        json!({"securityContext": {"supplementalGroups": [5], "fsGroup": 1}}),
        json!({"securityContext": null, "volumes": null}),
        json!({"runtimeClassName": "gvisor"}),
        json!({"hostUsers": false}),
    ]);
    let annotations = select(vec![
        json!(null),
        json!({}),
        json!({"slipway.io/strategy": "containerd"}),
        json!({"slipway.io/strategy": "docker-socket", "slipway.io/status": "forged"}),
        json!({"slipway.io/daemon.json": "{}"}),
        json!({"slipway.io/cache-key": "../../../etc"}),
    ]);
    (labels(), annotations, runner, dockerd, place, spec).prop_map(|(labels, annotations, runner, mut dockerd, place, extra)| {
        let volumes = json!([
            {"name": "work", "emptyDir": {}}, {"name": "run", "emptyDir": {"medium": "Memory"}},
            {"name": "slipway-docker-cache", "configMap": {"name": "mine"}}, {"name": "containerd-sock", "emptyDir": {}}]);
        let mut spec = json!({"containers": [runner], "volumes": volumes, "futureSpec": [null, 1]});
        match place {
            "container" => spec["containers"].as_array_mut().unwrap().push(dockerd),
            "native" => {
                dockerd["restartPolicy"] = json!("Always");
                spec["initContainers"] = json!([{"name": "init", "image": "x"}, dockerd]);
            }
            _ => {}
        }
        for (key, value) in extra.as_object().unwrap() {
            // A pod that mounts volumes has volumes.
            if key != "volumes" {
                spec[key] = value.clone();
            }
        }
        json!({"apiVersion": "v1", "kind": "Pod", "futureTop": 1, "metadata": {"name": "p", "labels": labels, "annotations": annotations}, "spec": spec})
    })
}

fn policy(overwriting: bool) -> impl Strategy<Value = Value> {
    let strategy = select(vec!["auto", "containerd", "docker-socket", "dind"]);
    let mixed = select(vec!["dind", "pin", "none"]);
    let cache = select(vec![
        json!({"type": "nodeSlots"}),
        json!({"type": "nodeSlots", "key": "annotation", "budget": null}),
        json!({"type": "emptyDir"}),
        json!({"type": "pvc", "claimName": "c"}),
        json!({"type": "ephemeral", "size": "10Gi"}),
        json!({"type": "none"}),
    ]);
    let local = select(vec![
        json!({"type": "none"}),
        json!({"type": "hostPath", "path": "/tmp/buildkit-cache"}),
        json!({"type": "pvc", "claimName": "b", "path": "/cache"}),
    ]);
    let mirrors = select(vec![
        json!([]),
        json!(["https://mirror.gcr.io"]),
        json!(["http://m:5000", "https://n"]),
    ]);
    let daemon = select(vec![
        json!({}),
        json!({"live-restore": false, "debug": true}),
    ]);
    let resources = select(vec![
        json!({}),
        json!({"requests": {"cpu": "100m", "memory": "256Mi"}}),
        json!({"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "2Gi"}}),
    ]);
    let overwrite = select(if overwriting {
        vec!["never", "dockerdResources", "all"]
    } else {
        vec!["never"]
    });
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    ((strategy, mixed, cache, local, mirrors), (daemon, resources, overwrite, flags)).prop_map(
        move |((strategy, mixed, cache, local, mirrors), (daemon, resources, overwrite, (host, inject, mtu, buildkitd)))| {
            json!({"profiles": {"default": {
                "strategy": strategy, "whenMixed": mixed, "hostAccess": host, "overwrite": overwrite,
                "replaceDockerd": overwriting && mtu,
                "containerd": {"buildkitd": if buildkitd { json!({}) } else { json!(null) }},
                "dind": {"cache": cache, "registryMirrors": mirrors, "daemonConfig": daemon, "resources": resources,
                    "mtu": if mtu && buildkitd { json!("auto") } else if mtu { json!(1400) } else { json!(null) },
                    "inject": if inject { "ifMissing" } else { "never" },
                    "image": if overwriting && inject { json!("docker:28-dind") } else { json!(null) }},
                "buildkit": {"localCache": local},
            }}})
        },
    )
}

fn nodes() -> impl Strategy<Value = Vec<Value>> {
    let node = |name: &str, runtime: &str, labels: Value| {
        json!({"metadata": {"name": name, "labels": labels},
            "status": {"nodeInfo": {"containerRuntimeVersion": runtime, "kubeletVersion": "v1.33.0"}}})
    };
    let all = vec![
        node("a", "containerd://2.1", json!({"pool": "a"})),
        node("b", "docker://20.10", json!({"pool": "b"})),
        node("c", "cri-o://1.33", json!({"pool": "c"})),
        node(
            "d",
            "containerd://2.1",
            json!({"pool": "a", "eks.amazonaws.com/compute-type": "fargate"}),
        ),
    ];
    subsequence(all, 0..=4)
}

fn world(overwriting: bool) -> impl Strategy<Value = World> {
    let level = select(vec![
        None,
        Some("privileged"),
        Some("baseline"),
        Some("restricted"),
    ]);
    // No defaults: those would count as unset, which is another test's business.
    let limits = select(vec![
        vec![],
        vec![
            json!({"type": "Container", "max": {"cpu": "150m", "memory": "1Gi"}, "min": {"cpu": "20m"}}),
        ],
        vec![json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}})],
    ]);
    (pod(), policy(overwriting), nodes(), level, limits).prop_map(
        |(pod, policy, nodes, level, limits)| World {
            pod,
            policy,
            nodes,
            level,
            limits,
        },
    )
}

/// Whether all of `before` is in `after`: maps keep their members, lists their elements in order.
fn survives(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Null, _) => true,
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .all(|(k, v)| after.get(k).is_some_and(|a| survives(v, a))),
        (Value::Array(before), Value::Array(after)) => {
            before.len() <= after.len() && before.iter().zip(after).all(|(b, a)| survives(b, a))
        }
        (before, after) => before == after,
    }
}

pub(super) fn all_containers(pod: &Value) -> Vec<Value> {
    let list = |key: &str| pod["spec"][key].as_array().cloned().unwrap_or_default();
    [list("initContainers"), list("containers")].concat()
}

pub(super) fn texts(list: &Value, key: &str) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items
        .filter_map(|i| i[key].as_str().map(str::to_owned))
        .collect()
}

fn has_duplicates(names: &[String]) -> bool {
    let mut sorted = names.to_vec();
    sorted.sort();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

fn host_paths(pod: &Value) -> usize {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter(|v| v.get("hostPath").is_some()).count()
}

fn privileged(pod: &Value) -> usize {
    let is = |c: &&Value| c["securityContext"]["privileged"] == json!(true);
    all_containers(pod).iter().filter(is).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_patch_applies_and_deciding_on_the_result_adds_nothing(world in world(true)) {
        let patched = world.patched();
        let again = world.patch(&patched);
        prop_assert!(again.0.is_empty(), "{again:?}");
    }

    #[test]
    fn nothing_that_the_user_set_is_removed_or_changed(world in world(false)) {
        // A forged status is ours to correct.
        let mut before = world.pod.clone();
        if let Some(annotations) = before["metadata"]["annotations"].as_object_mut() {
            annotations.remove("slipway.io/status");
        }
        prop_assert!(survives(&before, &world.patched()));
    }

    #[test]
    fn volumes_are_unique_and_every_mount_has_its_own_path_and_a_volume(world in world(true)) {
        let patched = world.patched();
        let volumes = texts(&patched["spec"]["volumes"], "name");
        prop_assert!(!has_duplicates(&volumes), "{volumes:?}");
        let names = texts(&Value::Array(all_containers(&patched)), "name");
        prop_assert!(!has_duplicates(&names), "{names:?}");
        for container in all_containers(&patched) {
            let paths = texts(&container["volumeMounts"], "mountPath");
            prop_assert!(!has_duplicates(&paths), "{paths:?}");
            for volume in texts(&container["volumeMounts"], "name") {
                prop_assert!(volumes.contains(&volume), "{volume} of {container}");
            }
        }
    }

    #[test]
    fn a_guarded_namespace_never_gets_what_its_level_rejects(world in world(true)) {
        let open = matches!(world.level, None | Some("privileged"));
        let allowed = world.policy["profiles"]["default"]["hostAccess"] == json!(true);
        let patched = world.patched();
        if !open || !allowed {
            prop_assert_eq!(host_paths(&patched), host_paths(&world.pod));
            prop_assert!(privileged(&patched) <= privileged(&world.pod));
        }
    }

    #[test]
    fn no_request_exceeds_its_limit(world in world(true)) {
        for container in all_containers(&world.patched()) {
            let resources = &container["resources"];
            for (name, limit) in resources["limits"].as_object().into_iter().flatten() {
                let quantity = |v: &Value| v.as_str().unwrap().parse::<slipway_core::k8s::quantity::Quantity>().unwrap();
                if let Some(request) = resources["requests"].get(name) {
                    prop_assert!(quantity(request) <= quantity(limit), "{container}");
                }
            }
        }
    }

    #[test]
    fn whatever_the_pod_is_like_the_answer_is_a_review_with_its_uid(object in any_json(), uid in "[a-z0-9-]{1,36}") {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": uid, "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
            "namespace": "ci", "object": object}});
        let world = World { pod: json!({}), policy: json!({}), nodes: vec![], level: None, limits: vec![] };
        let body = world.with(|cluster| admit(review.to_string().as_bytes(), cluster).unwrap().without_lease().body);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        prop_assert_eq!(&answer["response"]["uid"], &json!(uid));
        prop_assert_eq!(&answer["response"]["allowed"], &json!(true));
    }

    #[test]
    fn bytes_from_anywhere_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let world = World { pod: json!({}), policy: json!({}), nodes: vec![], level: None, limits: vec![] };
        world.with(|cluster| { let _ = admit(&bytes, cluster); });
    }
}

/// JSON in which the keys of a Pod turn up in the wrong places.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!("dockerd")),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let key = select(vec![
            "metadata",
            "spec",
            "containers",
            "initContainers",
            "volumes",
            "env",
            "name",
            "args",
            "labels",
            "actions-runner",
            "annotations",
            "volumeMounts",
            "mountPath",
            "resources",
            "limits",
            "affinity",
            "x/~y",
        ]);
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key, inner), 0..6).prop_map(|entries| Value::Object(
                entries
                    .into_iter()
                    .map(|(k, v)| (k.to_owned(), v))
                    .collect()
            )),
        ]
    })
}
