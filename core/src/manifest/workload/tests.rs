use super::*;

fn workload(content: Value) -> Workload {
    Workload::new(content).unwrap()
}

fn only_pod(content: Value) -> (Value, PodPlace) {
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
        let (content, place) = only_pod(resource(version, kind, at));
        assert_eq!(
            (place.kind.as_str(), place.name.as_str(), place.pod.as_str()),
            (kind, "x", at)
        );
        let pod = place.pod(&content);
        assert_eq!(pod["metadata"]["labels"]["a"], "b", "{kind}");
        assert_eq!(pod["spec"]["containers"][0]["name"], "c", "{kind}");
    }
}

#[test]
fn other_resources_and_namesakes_of_other_groups_have_no_pods() {
    for (version, kind) in [("v1", "Service"), ("batch.volcano.sh/v1alpha1", "Job")] {
        let content = json!({"apiVersion": version, "kind": kind});
        assert!(workload(content).pods.is_empty());
    }
}

#[test]
fn each_item_of_a_list_is_looked_at() {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service"},
        resource("v1", "Pod", ""),
        {"apiVersion": "v1", "kind": "List", "items": [resource("apps/v1", "Deployment", "/spec/template")]},
    ]});
    let pods: Vec<_> = workload(list)
        .pods
        .into_iter()
        .map(|place| place.pod)
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
    let (content, place) = only_pod(scale_set.clone());
    assert_eq!(
        place.pod(&content)["metadata"]["labels"],
        json!({"actions-ephemeral-runner": "True", "actions.github.com/scale-set-name": "x", "app.kubernetes.io/component": "runner"})
    );
    assert_eq!(content, scale_set);
}

#[test]
fn a_patch_is_moved_to_where_the_pod_stands() {
    let (content, place) = only_pod(resource("apps/v1", "Deployment", "/spec/template"));
    let moved = place.rebase(
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
        let (mut content, place) = only_pod(scale_set);
        let untouched = place.rebase(
            &content,
            &patch(json!([{"op": "add", "path": "/spec/x", "value": 1}])),
        );
        assert_eq!(untouched.0.len(), 1);
        let moved = place.rebase(
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
    let (content, place) =
        only_pod(json!({"apiVersion": "v1", "kind": "List", "items": [deployment]}));
    assert!(place.rendered);
    assert_eq!(
        (
            place.kind.as_str(),
            place.name.as_str(),
            place.namespace.as_deref()
        ),
        ("RunnerDeployment", "builders", Some("ci"))
    );
    assert_eq!(content["items"][0]["kind"], "Pod");
    assert_eq!(place.pod(&content), content["items"][0]);
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
fn paths_are_written_as_people_write_them() {
    assert_eq!(dotted("/spec/containers/0/a~1b"), "spec.containers[0].a/b");
    assert_eq!(
        pointer_of("spec.containers[0].name"),
        "/spec/containers/0/name"
    );
}

#[test]
fn a_pod_of_a_cluster_is_looked_at_as_if_no_node_had_been_chosen_yet() {
    let mut pod = resource("v1", "Pod", "");
    pod["spec"]["nodeName"] = json!("n1");
    let (content, place) = only_pod(pod.clone());
    // A manifest that names a node means it.
    assert_eq!(place.pod(&content)["spec"]["nodeName"], "n1");
    pod["metadata"]["uid"] = json!("0b0e6ab1-8b5c-4dc4-9d2c-7c8e5b0d3f5e");
    let (content, place) = only_pod(pod);
    assert_eq!(place.pod(&content)["spec"].get("nodeName"), None);
    assert_eq!(content["spec"]["nodeName"], "n1");
    assert_eq!(place.caveat, None);
}

#[test]
fn of_a_pod_that_was_changed_already_people_are_told() {
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
        let (_, place) = only_pod(pod);
        assert!(
            place.caveat.unwrap().contains("changed it already"),
            "{kind}"
        );
    }
}
