//! AdmissionReviews of ARC scale-set pods, as API server 1.36 sends them: compact JSON, a third of it
//! `managedFields`.

use std::fmt;

use serde_json::{Map, Value, json};

const EXAMPLE: &str = include_str!("../../examples/reviews/scale-set-dind.json");

/// The size of a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 2 KB: a pod with only what a runner needs.
    Small,
    /// 15.8 KB: a pod that a scale set creates from a team's template.
    Usual,
    /// 200 KB: a pod with eleven service containers of 100 variables each.
    Large,
}

impl Size {
    pub const ALL: [Self; 3] = [Self::Small, Self::Usual, Self::Large];

    fn bytes(self) -> usize {
        match self {
            Self::Small => 2_000,
            Self::Usual => 15_800,
            Self::Large => 200_000,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Small => "2 KB",
            Self::Usual => "15.8 KB",
            Self::Large => "200 KB",
        })
    }
}

/// Returns the review of a new pod.
///
/// # Panics
/// If its size differs from `size` by more than 5 %.
pub fn review(size: Size) -> Vec<u8> {
    review_with(size, &Value::Null)
}

/// Returns the same with these fields in the pod's `spec`, in place of the template's.
pub fn review_with(size: Size, fields: &Value) -> Vec<u8> {
    let mut review = match size {
        Size::Small => small(),
        Size::Usual => grown(41, 0),
        Size::Large => grown(40, 11),
    };
    for (key, value) in fields.as_object().into_iter().flatten() {
        review["request"]["object"]["spec"][key] = value.clone();
    }
    let bytes = review.to_string().into_bytes();
    let off = bytes.len().abs_diff(size.bytes());
    assert!(off * 20 <= size.bytes(), "{size}: {} bytes", bytes.len());
    bytes
}

fn example() -> Value {
    serde_json::from_str(EXAMPLE).expect("the example is JSON")
}

fn small() -> Value {
    let mut review = example();
    let request = &mut review["request"];
    request["userInfo"] = json!({"username": "system:serviceaccount:arc:controller",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:arc", "system:authenticated"]});
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    request["object"] = json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": "build-7gk4d-runner-x5qzn",
            "namespace": "ci",
            "labels": {"actions-ephemeral-runner": "True", "actions.github.com/scale-set-name": "build"},
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "serviceAccountName": "build-gha-rs-no-permission",
            "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "ci", "effect": "NoSchedule"}],
            "containers": [{
                "name": "runner",
                "image": "ghcr.io/actions/actions-runner:2.328.0",
                "command": ["/home/runner/run.sh"],
                "env": [{"name": "DOCKER_HOST", "value": "unix:///var/run/docker.sock"}],
                "resources": {},
                "volumeMounts": [mount("work", "/home/runner/_work"), mount("dind-sock", "/var/run")],
            }],
            "initContainers": [{
                "name": "dind",
                "image": "docker:dind",
                "imagePullPolicy": "IfNotPresent",
                "args": ["dockerd", "--host=unix:///var/run/docker.sock", "--group=$(DOCKER_GROUP_GID)"],
                "env": [{"name": "DOCKER_GROUP_GID", "value": "123"}],
                "resources": {},
                "securityContext": {"privileged": true},
                "restartPolicy": "Always",
                "volumeMounts": [mount("work", "/home/runner/_work"), mount("dind-sock", "/var/run")],
            }],
            "volumes": [{"name": "work", "emptyDir": {}}, {"name": "dind-sock", "emptyDir": {}}],
        },
        "status": {},
    });
    review
}

/// Returns the example with more variables in the runner, more containers, and the `managedFields` that
/// belong to them.
fn grown(variables: usize, services: usize) -> Value {
    let mut review = example();
    let pod = &mut review["request"]["object"];
    let runner = &mut pod["spec"]["containers"][0];
    if let Some(env) = runner["env"].as_array_mut() {
        env.extend((0..variables).map(variable));
    }
    let services: Vec<Value> = (0..services).map(service).collect();
    if let Some(containers) = pod["spec"]["containers"].as_array_mut() {
        containers.extend(services);
    }
    pod["status"] = json!({"phase": "Pending", "qosClass": "Burstable"});
    pod["metadata"]["managedFields"] = Value::Null;
    let fields = managed_fields(pod, "manager");
    pod["metadata"]["managedFields"] = json!([fields]);
    review
}

fn variable(number: usize) -> Value {
    json!({"name": format!("TEAM_BUILD_SETTING_{number}"),
        "value": format!("https://artifacts.example/repository/{number}/")})
}

fn service(number: usize) -> Value {
    let env: Vec<Value> = (0..100).map(variable).collect();
    json!({
        "name": format!("service-{number}"),
        "image": format!("registry.example/services/postgres:{number}"),
        "imagePullPolicy": "IfNotPresent",
        "env": env,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    })
}

/// Returns an entry of `managedFields` that owns all of the object
/// (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>).
pub fn managed_fields(object: &Value, manager: &str) -> Value {
    let mut owned = object.clone();
    for not_owned in ["kind", "apiVersion", "status"] {
        owned[not_owned].take();
    }
    for not_owned in ["name", "namespace", "managedFields"] {
        owned["metadata"][not_owned].take();
    }
    json!({"manager": manager, "operation": "Update", "apiVersion": "v1",
        "time": "2026-11-24T09:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": owned_fields(&owned)})
}

fn owned_fields(value: &Value) -> Value {
    let mut fields = Map::new();
    match value {
        Value::Object(object) => {
            for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
                fields.insert(format!("f:{key}"), owned_fields(value));
            }
        }
        Value::Array(items) => {
            for item in items {
                let Some((key, value)) = merge_key(item) else {
                    return json!({});
                };
                let mut of_item = owned_fields(item);
                of_item["."] = json!({});
                fields.insert(format!("k:{}", json!({ key: value })), of_item);
            }
        }
        _ => {}
    }
    Value::Object(fields)
}

/// Returns the key that identifies an item of a list; `None` for lists that are owned as a whole.
fn merge_key(item: &Value) -> Option<(&'static str, &Value)> {
    let keys = ["mountPath", "uid", "name", "type"];
    keys.into_iter().find_map(|key| Some((key, item.get(key)?)))
}
