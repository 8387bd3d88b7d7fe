//! Fleets: nodes of eight pools in three zones, labelled as a managed cluster labels them.

use serde_json::{Value, json};
use slipway::cluster::state::ClusterState;
use slipway_core::{
    k8s::cluster_file,
    nodes::{NodeObject, Snapshot},
};

const POOLS: usize = 8;
const ZONES: usize = 3;
/// How many images a kubelet reports …
const IMAGES: usize = 50;

/// Returns the name of node `number`, which is also its hostname.
pub fn name(number: usize) -> String {
    format!("aks-ci{}-30294817-vmss{number:06}", number % POOLS)
}

/// Returns node `number` with the fields that decisions use.
pub fn node(number: usize) -> NodeObject {
    serde_json::from_value(json!({
        "metadata": metadata(number),
        "spec": spec(number),
        "status": {"nodeInfo": node_info(number)},
    }))
    .expect("a node has the form of a node")
}

/// Returns the first `count` nodes.
pub fn fleet(count: usize) -> impl Iterator<Item = NodeObject> {
    (0..count).map(node)
}

/// Returns a heartbeat of node `number`: a change of its conditions, which every watcher gets every
/// few minutes and which affects no decision.
pub fn heartbeat(number: usize, beat: usize) -> NodeObject {
    let mut node = node(number);
    let annotations = &mut node.metadata.annotations;
    annotations.insert("volumes.example/attached".to_owned(), beat.to_string());
    node
}

/// Returns node `number`, cordoned.
pub fn cordoned(number: usize) -> NodeObject {
    let mut node = node(number);
    node.spec.unschedulable = true;
    node
}

/// Returns the state of a cluster with these nodes, and with the built-in example's namespaces and policy.
pub fn cluster_state(nodes: Snapshot) -> ClusterState {
    let namespaces = cluster_file::example_namespaces().expect("the built-in example is readable");
    ClusterState {
        nodes: Some(nodes.into()),
        namespaces: Some(namespaces.into()),
        ..ClusterState::default()
    }
}

/// Returns node `number` with every field that a real one has: 15 to 20 KB of JSON, most of it images
/// and `managedFields`.
pub fn full_object(number: usize) -> Value {
    let images: Vec<Value> = (0..IMAGES)
        .map(|i| {
            let digest = format!("{:064x}", 0x9e37_79b9_7f4a_7c15_u128 * (i as u128 + 1));
            json!({"names": [
                format!("registry.example/team-{}/image-{i}@sha256:{digest}", i % 7),
                format!("registry.example/team-{}/image-{i}:1.{i}.0", i % 7)],
                "sizeBytes": 10_000_000 + i * 123_457})
        })
        .collect();
    let condition = |kind: &str, status: &str| {
        json!({"type": kind, "status": status, "reason": format!("Kubelet{kind}"),
            "message": "kubelet is posting its status", "lastHeartbeatTime": "2026-11-24T09:00:00Z",
            "lastTransitionTime": "2026-11-20T09:00:00Z"})
    };
    let capacity = json!({"cpu": "16", "memory": "65842432Ki", "pods": "250",
        "ephemeral-storage": "259966896Ki", "hugepages-1Gi": "0", "hugepages-2Mi": "0"});
    let mut node = json!({
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": metadata(number),
        "spec": spec(number),
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [
                condition("MemoryPressure", "False"), condition("DiskPressure", "False"),
                condition("PIDPressure", "False"), condition("Ready", "True")],
            "addresses": [
                {"type": "InternalIP", "address": format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255)},
                {"type": "Hostname", "address": name(number)}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": node_info(number),
            "images": images,
        },
    });
    node["spec"]["podCIDR"] = json!(format!("10.244.{}.0/24", number % 256));
    node["metadata"]["managedFields"] = json!([
        super::reviews::managed_fields(&node, "kubelet"),
        super::reviews::managed_fields(&node, "cloud-controller-manager"),
    ]);
    node
}

fn metadata(number: usize) -> Value {
    let (pool, zone) = (number % POOLS, number / POOLS % ZONES);
    let (name, zone) = (name(number), format!("westeurope-{}", zone + 1));
    json!({
        "name": name,
        "labels": {
            "agentpool": format!("ci{pool}"),
            "beta.kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux",
            "failure-domain.beta.kubernetes.io/region": "westeurope",
            "failure-domain.beta.kubernetes.io/zone": zone,
            "kubernetes.azure.com/agentpool": format!("ci{pool}"),
            "kubernetes.azure.com/cluster": "MC_ci_ci_westeurope",
            "kubernetes.azure.com/mode": "user",
            "kubernetes.azure.com/node-image-version": "AKSUbuntu-2204gen2containerd-202511.07.0",
            "kubernetes.azure.com/os-sku": "Ubuntu",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": "Standard_D16s_v5",
            "topology.disk.csi.azure.com/zone": zone,
            "topology.kubernetes.io/region": "westeurope",
            "topology.kubernetes.io/zone": zone,
        },
        "annotations": {"volumes.example/attached": "0"},
    })
}

/// Returns the spec of a node. One pool in four is tainted for other work than CI.
fn spec(number: usize) -> Value {
    let taints = match number % POOLS {
        3 | 7 => json!([{"key": "dedicated", "value": "web", "effect": "NoSchedule"}]),
        _ => json!([{"key": "dedicated", "value": "ci", "effect": "NoSchedule"}]),
    };
    json!({ "taints": taints })
}

fn node_info(number: usize) -> Value {
    // Two versions of containerd: an upgrade is under way.
    let patch = if number % POOLS < 4 { 4 } else { 5 };
    json!({
        "architecture": "amd64",
        "containerRuntimeVersion": format!("containerd://2.1.{patch}"),
        "kernelVersion": "5.15.0-1102-azure",
        "kubeletVersion": "v1.36.2",
        "operatingSystem": "linux",
        "osImage": "Ubuntu 22.04.5 LTS",
    })
}
