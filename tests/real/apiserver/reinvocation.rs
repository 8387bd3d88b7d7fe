//! Slipway beside another mutating webhook that adds a sidecar, as service meshes do.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    fixture::{calls, container, installed, status},
    harness::{Endpoint, eventually, pods, webhook},
};

/// Adds the container `proxy` at the front, unless it exists.
fn add_proxy(review: &[u8]) -> Vec<u8> {
    let review: Value = serde_json::from_slice(review).unwrap();
    let request = &review["request"];
    let mut response = json!({"uid": request["uid"], "allowed": true});
    let containers = request["object"]["spec"]["containers"].as_array().unwrap();
    if !containers
        .iter()
        .any(|container| container["name"] == "proxy")
    {
        let proxy = json!({"name": "proxy", "image": "registry.example/proxy:1"});
        let patch = json!([{"op": "add", "path": "/spec/containers/0", "value": proxy}]);
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(patch.to_string()));
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
        .to_string()
        .into_bytes()
}

/// Webhook configurations are called in the order of their names: one before Slipway's, one after it.
async fn changes_of_a_webhook_before_or_after_slipway_are_kept() -> Outcome {
    let here = installed().await?;
    let api = here.cluster.admin().await;
    let endpoint = Endpoint::start(add_proxy);
    for (other, at_least) in [("a-mesh", 1), ("z-mesh", 2)] {
        here.enabled(other, &json!({"mesh": other})).await;
        let label = ("mesh", other);
        webhook::register(&api, other, endpoint.client_config(), label, |_| {}).await;
        for example in ["scale-set-dind", "legacy-sidecar", "no-docker"] {
            let pod = pods::example(example);
            let reply = eventually("the other webhook to be called", async || {
                let reply = api.post(&pods::dry_run(other), &pod).await;
                let called = !calls(&here.audit(&reply).await, other).is_empty();
                called.then_some(reply)
            })
            .await;
            let audit = here.audit(&reply).await;
            let mutated = mutated_by_us(&audit);
            assert!(mutated.len() >= at_least, "{other}: {audit:#}");
            // Called again, it adds nothing.
            assert!(mutated[0] && !mutated[1..].contains(&true), "{audit:#}");
            let patched = reply.ok();
            assert_eq!(
                container(&patched, "proxy")["image"],
                "registry.example/proxy:1"
            );
            assert!(status(&patched).is_some());
            assert_eq!(duplicates(&patched), Vec::<String>::new(), "{other}");
        }
    }
    Ok(())
}

/// Returns, for each call of Slipway in order, whether it changed the pod.
fn mutated_by_us(audit: &Value) -> Vec<bool> {
    let calls = calls(audit, "slipway").into_iter();
    calls.map(|call| call["mutated"] == true).collect()
}

/// Returns the duplicate entries of the pod's lists.
fn duplicates(pod: &Value) -> Vec<String> {
    let spec = &pod["spec"];
    let mut found = Vec::new();
    let mut look = |list: &Value| {
        let items: Vec<String> = list
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| {
                item["name"]
                    .as_str()
                    .map_or(item.to_string(), str::to_owned)
            })
            .collect();
        let twice = |item: &&String| items.iter().filter(|other| other == item).count() > 1;
        found.extend(items.iter().filter(twice).cloned());
    };
    look(&spec["volumes"]);
    look(&spec["containers"]);
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array().into_iter().flatten() {
            look(&container["env"]);
            look(&container["args"]);
        }
    }
    found
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![changes_of_a_webhook_before_or_after_slipway_are_kept,]
}
