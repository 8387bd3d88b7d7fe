//! What must hold, and a small cluster in which to ask.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use slipway_core::{
    admission::{admit, evaluate},
    decide::Cluster,
    k8s::namespace::{Namespace, Namespaces},
    nodes::{NodeObject, Snapshot},
    pod::Pod,
    policy::Policy,
};

/// Policies that reach every strategy and every kind of cache.
pub static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    [
        "{}",
        "profiles: {default: {strategy: containerd, containerd: {buildkitd: {}}, whenMixed: pin, replaceDockerd: true}}",
        "profiles: {default: {strategy: docker-socket, dockerSocket: {socketPath: /run/x.sock, supplementalGroups: [7]}}}",
        "profiles: {default: {strategy: dind, dind: {inject: ifMissing, mtu: auto, image: 'docker:28-dind', daemonConfig: {debug: true}}}}",
        "profiles: {default: {overwrite: all, dind: {mtu: 1400, storageDriver: overlay2, registryMirrors: ['http://m:5000'], \
         cache: {type: nodeSlots, key: annotation}, resources: {requests: {cpu: 1}, limits: {cpu: 2, memory: 1Gi}}}, \
         buildkit: {localCache: {type: hostPath, path: /tmp/cache}, gc: {keepStorage: 20GB}}}}",
        "profiles: {default: {dind: {cache: {type: pool}, env: {A: b}}}}",
        "profiles: {default: {hostAccess: false, dind: {cache: {type: pvc, claimName: c}}}}\n\
         recognisers: [{name: mine, anyOf: [{env: {CI: null}}, {image: '*runner*'}], runnerContainers: ['*']}]",
    ]
    .map(|yaml| Policy::parse(yaml).expect("a policy of ours"))
    .into()
});

/// One namespace for each Pod Security level, with limits.
pub static NAMESPACES: LazyLock<Namespaces> = LazyLock::new(|| {
    let limits = json!([{"type": "Container", "max": {"cpu": "150m", "memory": "1Gi"}, "min": {"cpu": "20m"},
        "maxLimitRequestRatio": {"cpu": "2"}, "defaultRequest": {"cpu": "50m"}}]);
    let namespace = |name: &str, level: &str, limits: &Value| Namespace {
        name: name.to_owned(),
        labels: [
            ("slipway.io/inject", "enabled"),
            ("pod-security.kubernetes.io/enforce", level),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        limits: serde_json::from_value(limits.clone()).expect("limits of ours"),
        quotas: ["limits.memory".to_owned()].into(),
    };
    Namespaces::new([
        namespace("ci", "privileged", &json!([])),
        namespace("limited", "privileged", &limits),
        namespace("guarded", "baseline", &limits),
    ])
});

pub static NODES: LazyLock<Snapshot> = LazyLock::new(|| {
    Snapshot::new([
        node("a", "containerd://2.1", "a"),
        node("b", "docker://20.10", "b"),
        node("c", "cri-o://1.33", "c"),
    ])
});

fn node(name: &str, runtime: &str, pool: &str) -> NodeObject {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"pool": pool}},
        "status": {"nodeInfo": {"containerRuntimeVersion": runtime, "kubeletVersion": "v1.33.0"}}}))
    .expect("a node of ours")
}

pub fn cluster<'c>(policy: &'c Policy, nodes: &'c Snapshot) -> Cluster<'c> {
    Cluster {
        nodes: Some(nodes),
        namespaces: &NAMESPACES,
        policy,
        dead_mirrors: &[],
        claims: None,
    }
}

/// The patch applies, and deciding on the result adds nothing.
pub fn the_patch_applies_once(object: &Value, namespace: &str, cluster: Cluster<'_>) {
    let text = object.to_string();
    let Ok(pod) = Pod::parse(text.as_bytes()) else {
        return;
    };
    let patch = evaluate(&pod, namespace, cluster).patch;
    let patch = patch.to_patch().expect("operations are JSON");
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch)
        .unwrap_or_else(|error| panic!("{error}\n{object}\n{}", json!(patch)));
    let text = patched.to_string();
    let pod = Pod::parse(text.as_bytes()).expect("what was a pod is one");
    let again = evaluate(&pod, namespace, cluster).patch;
    assert!(again.is_empty(), "{object}\n{again:?}");
}

/// Whatever is asked, the answer is a review for the same uid that lets the pod through.
pub fn the_answer_is_a_review(body: &[u8], cluster: Cluster<'_>) {
    let Ok(admission) = admit(body, cluster) else {
        return;
    };
    let answer = admission.without_lease();
    // What Slipway does not look at may hold what is no text: half a surrogate pair. The API server
    // sends no such thing.
    let Ok(asked) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let answer: Value = serde_json::from_slice(&answer.body).expect("an answer is JSON");
    let (request, response) = (&asked["request"], &answer["response"]);
    assert_eq!(request["uid"], response["uid"]);
    assert_eq!(response["allowed"], true);
    assert_eq!(
        response["patch"].is_string(),
        response["patchType"].is_string()
    );
    if let Some(patch) = response["patch"].as_str() {
        let patch = STANDARD.decode(patch).expect("a patch is base64");
        let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a patch is JSON");
        let mut object = request["object"].clone();
        json_patch::patch(&mut object, &patch).expect("a patch applies");
        let namespace = request["namespace"].as_str().unwrap_or_default();
        the_patch_applies_once(&request["object"], namespace, cluster);
    }
}
