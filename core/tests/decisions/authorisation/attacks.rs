//! Attacks that somebody thought of, one by one.

use serde_json::{Value, json};
use slipway_core::{
    admission::{Evaluation, evaluate},
    decide::Cluster,
    k8s::namespace::{Namespace, Namespaces},
    nodes::Snapshot,
    pod::Pod,
    policy::Policy,
};

/// The pod after the patch, and the audit annotations, under a policy that gives everything.
fn admitted(pod: &Value, policy: &str, nodes: usize) -> (Value, Value) {
    let looked = |evaluation: &Evaluation<'_>| {
        let mut after = pod.clone();
        json_patch::patch(&mut after, &evaluation.patch.to_patch().unwrap()).unwrap();
        (after, json!(evaluation.audit_annotations()))
    };
    let text = pod.to_string();
    let nodes = Snapshot::new((0..nodes).map(|i| {
        let node = json!({"metadata": {"name": i.to_string(), "labels":
                {"kubernetes.io/hostname": i.to_string()}},
            "status": {"nodeInfo": {"containerRuntimeVersion": "containerd://2.1"}}});
        serde_json::from_value(node).unwrap()
    }));
    let namespaces = Namespaces::new([Namespace {
        name: "ci".to_owned(),
        labels: [("slipway.io/inject".to_owned(), "enabled".to_owned())].into(),
        ..Namespace::default()
    }]);
    let cluster = Cluster {
        nodes: Some(&nodes),
        namespaces: &namespaces,
        policy: &Policy::parse(policy).unwrap(),
        dead_mirrors: &[],
        claims: None,
    };
    looked(&evaluate(
        &Pod::parse(text.as_bytes()).unwrap(),
        "ci",
        cluster,
    ))
}

/// A scale set's runner with a dockerd, a third container, and these volumes and mounts of it.
#[allow(clippy::needless_pass_by_value, reason = "reads better in tests")]
fn runner(mounts: Value, volumes: Value) -> Value {
    json!({"metadata": {"labels": {"actions-ephemeral-runner": "True"}}, "spec": {
        "containers": [{"name": "runner", "image": "x"}, {"name": "dind", "image": "docker:dind", "securityContext": {"privileged": true}},
            {"name": "bystander", "image": "evil", "volumeMounts": mounts}],
        "volumes": volumes}})
}

#[test]
fn a_mount_that_waits_for_the_slots_gets_none() {
    let mounts =
        json!([{"name": "slipway-docker-slots", "mountPath": "/loot", "subPath": "slot-0"}]);
    let (after, _) = admitted(&runner(mounts, json!([])), "{}", 1);
    let volumes = after["spec"]["volumes"].as_array().unwrap();
    assert!(
        volumes
            .iter()
            .any(|v| v["name"] == "slipway-docker-slots-2"),
        "{volumes:?}"
    );
    // The API server refuses the pod for its mount without a volume, as it would without us.
    assert!(
        volumes.iter().all(|v| v["name"] != "slipway-docker-slots"),
        "{volumes:?}"
    );
}

#[test]
fn a_host_path_of_the_pods_own_that_slipway_mounts_stands_in_the_audit_log() {
    let socket = "/run/containerd/containerd.sock";
    let mut pod = runner(
        json!([]),
        json!([{"name": "containerd-sock", "hostPath": {"path": socket}}]),
    );
    pod["spec"]["containers"].as_array_mut().unwrap().remove(1);
    let (after, audit) = admitted(&pod, "{}", 1);
    assert_eq!(after["spec"]["volumes"], pod["spec"]["volumes"]);
    assert_eq!(
        after["spec"]["containers"][0]["volumeMounts"][0]["name"],
        "containerd-sock"
    );
    assert_eq!(audit["host-access"], socket);
}

#[test]
fn a_path_with_steps_up_hides_nothing_of_the_added_dockerd() {
    let mounts = json!([{"name": "work", "mountPath": "/home/runner/../../usr/local/bin"},
        {"name": "work", "mountPath": "/home/runner/_work"}]);
    let mut pod = runner(json!([]), json!([{"name": "work", "emptyDir": {}}]));
    pod["spec"]["containers"] = json!([{"name": "runner", "image": "x", "volumeMounts": mounts}]);
    let policy = "profiles: {default: {strategy: dind, dind: {inject: ifMissing}}}";
    let (after, _) = admitted(&pod, policy, 1);
    let dind = &after["spec"]["initContainers"][0];
    assert_eq!(dind["name"], "slipway-dind");
    let paths: Vec<&str> = dind["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["name"] == "work")
        .filter_map(|m| m["mountPath"].as_str())
        .collect();
    assert_eq!(paths, ["/home/runner/_work"]);
}

#[test]
fn a_docker_host_at_the_root_does_not_mount_the_socket_there() {
    let mut pod = runner(json!([]), json!([]));
    pod["spec"]["containers"] = json!([{"name": "runner", "image": "x",
        "env": [{"name": "DOCKER_HOST", "value": "unix:///x/.."}]}]);
    let policy = "profiles: {default: {strategy: docker-socket}}\nnodePools: [{labels: {a: b}, runtime: docker}]";
    pod["spec"]["nodeSelector"] = json!({"a": "b"});
    let (after, _) = admitted(&pod, policy, 0);
    assert_eq!(
        after["spec"]["containers"][0]["volumeMounts"][0]["mountPath"],
        "/var/run/docker.sock"
    );
}

#[test]
fn a_pod_with_more_constraints_than_any_runner_is_left_alone_before_nodes_are_looked_at() {
    let values: Vec<String> = (0..50_000).map(|i| format!("v{i}")).collect();
    let term = json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": values}]});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}});
    let tolerations = vec![json!({"key": "k", "operator": "Exists"}); 2_000];
    let terms = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": vec![json!({}); 2_000]}}});
    for (key, value) in [
        ("affinity", affinity),
        ("affinity", terms),
        ("tolerations", json!(tolerations)),
    ] {
        let mut pod = runner(json!([]), json!([]));
        pod["spec"][key] = value;
        let (after, audit) = admitted(&pod, "{}", 2_000);
        assert_eq!(after, pod);
        assert_eq!(audit, json!({}), "nothing was decided");
    }
}

#[test]
fn names_and_owners_beyond_what_the_api_server_takes_are_not_passed_on() {
    let pod =
        json!({"metadata": {"generateName": format!("\u{7}{}", "ä".repeat(100_000))}}).to_string();
    let shown = Pod::parse(pod.as_bytes()).unwrap().display_name();
    assert!(shown.len() <= 254 && shown.ends_with("ä*"), "{shown}");
}

#[test]
fn a_dockerd_that_bears_our_sidecars_name_and_is_taken_out_makes_room_for_it() {
    let mut pod = runner(json!([]), json!([]));
    pod["spec"]["containers"] = json!([{"name": "runner", "image": "x"},
        {"name": "slipway-buildkitd", "image": "docker:dind"}]);
    let policy = "profiles: {default: {strategy: containerd, replaceDockerd: true, containerd: {buildkitd: {}}}}";
    let (after, _) = admitted(&pod, policy, 1);
    assert_eq!(
        after["spec"]["initContainers"][0]["name"],
        "slipway-buildkitd"
    );
    assert_eq!(after["spec"]["containers"].as_array().unwrap().len(), 1);
    assert_eq!(admitted(&after, policy, 1).0, after);
}

#[test]
fn a_pod_without_metadata_that_a_policy_recognises_otherwise_gets_a_patch_that_applies() {
    let pod = json!({"spec": {"containers": [{"name": "main", "image": "ci/runner:1"}]}});
    let policy = "recognisers: [{name: mine, anyOf: [{image: 'ci/*'}], runnerContainers: [main]}]";
    let (after, _) = admitted(&pod, policy, 1);
    assert!(after["metadata"]["annotations"]["slipway.io/status"].is_string());
    assert_eq!(admitted(&after, policy, 1).0, after);
}

#[test]
fn of_two_containers_that_bear_a_dockerds_name_none_is_taken_out() {
    let mut pod = runner(json!([]), json!([]));
    pod["spec"]["containers"] = json!([{"name": "main", "image": "ci/x:1"},
        {"name": "dind-a", "image": "own:1"}, {"name": "dind-b", "image": "own:1"}]);
    let policy = "recognisers: [{name: mine, anyOf: [{image: 'ci/*'}], runnerContainers: [main], \
                  dockerdContainers: ['dind-*']}]\n\
                  profiles: {default: {strategy: containerd, replaceDockerd: true}}";
    pod["metadata"]["labels"] = json!({});
    let (after, _) = admitted(&pod, policy, 1);
    assert_eq!(after["spec"]["containers"].as_array().unwrap().len(), 3);
    assert_eq!(admitted(&after, policy, 1).0, after);
}
