use json_patch::Patch;
use serde_json::json;

use super::*;

fn workload(content: Value) -> Workload {
    Workload::new(content).unwrap()
}

fn only_pod(content: Value) -> (Value, PodLocation) {
    let workload = workload(content);
    assert_eq!(workload.pods.len(), 1);
    (workload.content, workload.pods[0].clone())
}

fn patch(operations: Value) -> Patch {
    serde_json::from_value(operations).unwrap()
}

/// A resource of this kind with a pod at `pod`.
fn resource(version: &str, kind: &str, pod: &str) -> Value {
    let mut value =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}});
    for key in pod.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
        value = json!({ key: value });
    }
    value["apiVersion"] = json!(version);
    value["kind"] = json!(kind);
    value["metadata"]["name"] = json!("x");
    value
}

#[test]
fn pods_are_found_in_every_kind_of_workload() {
    for (version, kind, at) in [
        ("v1", "Pod", ""),
        ("v1", "PodTemplate", "/template"),
        ("v1", "ReplicationController", "/spec/template"),
        ("apps/v1", "Deployment", "/spec/template"),
        ("apps/v1", "StatefulSet", "/spec/template"),
        ("apps/v1", "DaemonSet", "/spec/template"),
        ("apps/v1", "ReplicaSet", "/spec/template"),
        ("batch/v1", "Job", "/spec/template"),
        ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template"),
        (
            "keda.sh/v1alpha1",
            "ScaledJob",
            "/spec/jobTargetRef/template",
        ),
        (
            "actions.github.com/v1alpha1",
            "AutoscalingRunnerSet",
            "/spec/template",
        ),
        (
            "actions.github.com/v1alpha1",
            "EphemeralRunnerSet",
            "/spec/ephemeralRunnerSpec",
        ),
        ("actions.github.com/v1alpha1", "EphemeralRunner", "/spec"),
        (
            "actions.summerwind.dev/v1alpha1",
            "RunnerSet",
            "/spec/template",
        ),
    ] {
        let (content, location) = only_pod(resource(version, kind, at));
        assert_eq!(
            (
                location.kind.as_str(),
                location.name.as_str(),
                location.pod.as_str()
            ),
            (kind, "x", at)
        );
        let pod = location.pod(&content);
        assert_eq!(pod["metadata"]["labels"]["a"], "b", "{kind}");
        assert_eq!(pod["spec"]["containers"][0]["name"], "c", "{kind}");
    }
}

#[test]
fn other_resources_and_kinds_of_other_groups_have_no_pods() {
    for (version, kind) in [("v1", "Service"), ("batch.volcano.sh/v1alpha1", "Job")] {
        let content = json!({"apiVersion": version, "kind": kind});
        assert!(workload(content).pods.is_empty());
    }
}

#[test]
fn pods_are_found_in_each_item_of_a_list() {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service"},
        resource("v1", "Pod", ""),
        {"apiVersion": "v1", "kind": "List", "items": [resource("apps/v1", "Deployment", "/spec/template")]},
    ]});
    let pods: Vec<_> = workload(list)
        .pods
        .into_iter()
        .map(|location| location.pod)
        .collect();
    assert_eq!(pods, ["/items/1", "/items/2/items/0/spec/template"]);
    let typed = json!({"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "a"}, "spec": {}}]});
    assert_eq!(workload(typed).pods[0].name, "a");
}

#[test]
fn labels_that_the_controller_adds_are_seen_and_never_written() {
    let mut scale_set = resource(
        "actions.github.com/v1alpha1",
        "AutoscalingRunnerSet",
        "/spec/template",
    );
    scale_set["spec"]["template"]["metadata"] = Value::Null;
    let (content, location) = only_pod(scale_set.clone());
    assert_eq!(
        location.pod(&content)["metadata"]["labels"],
        json!({"actions-ephemeral-runner": "True", "actions.github.com/scale-set-name": "x", "app.kubernetes.io/component": "runner"})
    );
    assert_eq!(content, scale_set);
}

#[test]
fn a_patch_is_moved_to_where_the_pod_stands() {
    let (content, location) = only_pod(resource("apps/v1", "Deployment", "/spec/template"));
    let moved = location.rebase(
        &content,
        &patch(json!([
            {"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}},
            {"op": "move", "from": "/spec/a~1b", "path": "/spec/c"},
        ])),
    );
    assert_eq!(
        serde_json::to_value(&moved).unwrap(),
        json!([
            {"op": "add", "path": "/spec/template/metadata/annotations", "value": {"a": "b"}},
            {"op": "move", "from": "/spec/template/spec/a~1b", "path": "/spec/template/spec/c"},
        ])
    );
}

#[test]
fn metadata_that_a_template_lacks_is_created_first() {
    for absent in [None, Some(Value::Null)] {
        let mut scale_set = resource(
            "actions.github.com/v1alpha1",
            "AutoscalingRunnerSet",
            "/spec/template",
        );
        let template = scale_set["spec"]["template"].as_object_mut().unwrap();
        template.remove("metadata");
        if let Some(null) = absent {
            template.insert("metadata".to_owned(), null);
        }
        let (mut content, location) = only_pod(scale_set);
        let untouched = location.rebase(
            &content,
            &patch(json!([{"op": "add", "path": "/spec/x", "value": 1}])),
        );
        assert_eq!(untouched.0.len(), 1);
        let moved = location.rebase(
            &content,
            &patch(json!([
                {"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}},
                {"op": "add", "path": "/metadata/labels/c", "value": "d"},
                {"op": "add", "path": "/metadata/labels/e", "value": "f"},
            ])),
        );
        json_patch::patch(&mut content, &moved).unwrap();
        assert_eq!(
            content["spec"]["template"]["metadata"],
            json!({"annotations": {"a": "b"}, "labels": {"c": "d", "e": "f"}})
        );
    }
}

#[test]
fn a_runner_deployment_becomes_the_pod_that_the_controller_makes() {
    let deployment = json!({
        "apiVersion": "actions.summerwind.dev/v1alpha1", "kind": "RunnerDeployment",
        "metadata": {"name": "builders", "namespace": "ci"},
        "spec": {"template": {"spec": {"organization": "acme"}}}
    });
    let (content, location) =
        only_pod(json!({"apiVersion": "v1", "kind": "List", "items": [deployment]}));
    assert!(location.rendered);
    assert_eq!(
        (
            location.kind.as_str(),
            location.name.as_str(),
            location.namespace.as_deref()
        ),
        ("RunnerDeployment", "builders", Some("ci"))
    );
    assert_eq!(content["items"][0]["kind"], "Pod");
    assert_eq!(location.pod(&content), content["items"][0]);
}

#[test]
fn errors_say_what_was_expected_and_where() {
    for (content, at, message) in [
        (
            json!([1]),
            "",
            "expected a Kubernetes resource (a mapping with apiVersion and kind), found a list",
        ),
        (json!({"a": 1}), "", "without `kind`"),
        (
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {}}),
            "/spec/template",
            "spec.template: expected a mapping",
        ),
        (
            json!({"apiVersion": "v1", "kind": "Pod", "spec": "x"}),
            "/spec",
            "found text",
        ),
        (
            json!({"apiVersion": "actions.summerwind.dev/v1alpha1", "kind": "Runner", "metadata": {"name": "x"}, "spec": {"env": 1}}),
            "/spec/env",
            "spec.env",
        ),
    ] {
        let error = Workload::new(content).unwrap_err();
        assert_eq!(error.pointer, at);
        assert!(error.message.contains(message), "{}", error.message);
    }
}

#[test]
fn the_node_of_a_scheduled_pod_is_ignored() {
    let mut pod = resource("v1", "Pod", "");
    pod["spec"]["nodeName"] = json!("n1");
    let (content, location) = only_pod(pod.clone());
    // In a manifest, the node was chosen by its author.
    assert_eq!(location.pod(&content)["spec"]["nodeName"], "n1");
    pod["metadata"]["uid"] = json!("0b0e6ab1-8b5c-4dc4-9d2c-7c8e5b0d3f5e");
    let (content, location) = only_pod(pod);
    assert_eq!(location.pod(&content)["spec"].get("nodeName"), None);
    assert_eq!(content["spec"]["nodeName"], "n1");
    assert_eq!(location.caveat, None);
}

#[test]
fn a_pod_that_was_changed_already_has_a_caveat() {
    for (kind, at) in [("Pod", ""), ("Deployment", "/spec/template")] {
        let mut pod = resource("v1", kind, at);
        let annotations = json!({"annotations": {"slipway.io/status": "{}"}});
        pod.pointer_mut(&format!("{at}/metadata"))
            .unwrap()
            .as_object_mut()
            .unwrap()
            .extend(annotations.as_object().unwrap().clone());
        if kind == "Deployment" {
            pod["apiVersion"] = json!("apps/v1");
        }
        let (_, location) = only_pod(pod);
        assert!(
            location.caveat.unwrap().contains("changed it already"),
            "{kind}"
        );
    }
}
