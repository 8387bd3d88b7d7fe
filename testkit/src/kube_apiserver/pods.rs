//! The example pods as a controller would send them, without the fields that the API server fills in.

use serde_json::{Value, json};

use super::yaml;

/// Reads `examples/pods/{name}.yaml`.
pub fn example(name: &str) -> Value {
    bare(yaml(&format!("examples/pods/{name}.yaml")))
}

/// Removes the namespace, which is in the path of a request, and the service account, because none of
/// the examples' accounts exists here.
pub fn bare(mut pod: Value) -> Value {
    let is_token = |name: &Value| {
        name.as_str()
            .is_some_and(|n| n.starts_with("kube-api-access"))
    };
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    let Some(spec) = pod["spec"].as_object_mut() else {
        return pod;
    };
    spec.remove("serviceAccount");
    spec.remove("serviceAccountName");
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.retain(|volume| !is_token(&volume["name"]));
    }
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(mounts) = container["volumeMounts"].as_array_mut() {
                mounts.retain(|mount| !is_token(&mount["name"]));
            }
        }
    }
    pod
}

/// Adds the images that the API server requires and golden pods lack.
pub fn complete(mut pod: Value) -> Value {
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            if container["image"].is_null() {
                container["image"] = json!("registry.example/any");
            }
        }
    }
    pod
}

/// Returns the path to which a namespace's pods are posted.
pub fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// Returns the same path for a dry run.
pub fn dry_run(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods?dryRun=All")
}

/// Sets a label.
pub fn label(pod: &mut Value, key: &str, value: &str) {
    if !pod["metadata"]["labels"].is_object() {
        pod["metadata"]["labels"] = json!({});
    }
    pod["metadata"]["labels"][key] = json!(value);
}
