//! What one node says of its container runtime.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::pod::canonical_path;

/// The label that names a node's runtime, stronger than what the kubelet reports.
pub const RUNTIME_LABEL: &str = "slipway.io/container-runtime";
const GKE_RUNTIME_LABEL: &str = "cloud.google.com/gke-container-runtime";
const SOCKET_ANNOTATION: &str = "slipway.io/runtime-socket";
const KUBEADM_SOCKET_ANNOTATION: &str = "kubeadm.alpha.kubernetes.io/cri-socket";

/// Docker Engine's socket; cri-dockerd and dockershim sockets are not it.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// The parts of a Node object that matter. Everything else, images and `managedFields` above all,
/// is dropped when it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeObject {
    /// `metadata`.
    pub metadata: NodeMetadata,
    /// `spec`.
    pub spec: NodeSpec,
    /// `status`.
    pub status: NodeStatus,
}

/// Parts of a Node's `metadata`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeMetadata {
    /// The node's name.
    pub name: String,
    /// Its labels.
    #[serde(deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// Parts of a Node's `spec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// Its taints.
    #[serde(deserialize_with = "null_is_default")]
    pub taints: Vec<Taint>,
    /// Whether it is cordoned.
    pub unschedulable: bool,
}

/// A taint.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct Taint {
    /// The key.
    pub key: String,
    /// The value.
    #[serde(default, deserialize_with = "null_is_default")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// Parts of a Node's `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatus {
    /// `nodeInfo`.
    pub node_info: NodeInfo,
}

/// Parts of `status.nodeInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeInfo {
    /// Such as `containerd://2.1.4`.
    pub container_runtime_version: String,
    /// Such as `v1.34.1+k3s1`.
    pub kubelet_version: String,
    /// Such as `Bottlerocket OS 1.20.0 (aws-k8s-1.30)`.
    pub os_image: String,
    /// `linux` or `windows`.
    pub operating_system: String,
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The kind of a container runtime.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeKind {
    /// containerd.
    Containerd,
    /// Docker Engine, through dockershim or cri-dockerd.
    Docker,
    /// CRI-O.
    CriO,
    /// Something else, or nothing that is known.
    Unknown,
}

impl RuntimeKind {
    /// The usual socket of this runtime, where there is one to use.
    #[must_use]
    pub fn usual_socket(self) -> Option<&'static str> {
        match self {
            Self::Containerd => Some("/run/containerd/containerd.sock"),
            Self::Docker => Some(DOCKER_SOCKET),
            Self::CriO | Self::Unknown => None,
        }
    }

    /// Its name in the policy file and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Docker => "docker",
            Self::CriO => "cri-o",
            Self::Unknown => "unknown",
        }
    }

    fn from_name(name: &str) -> Self {
        match name {
            "containerd" => Self::Containerd,
            "docker" => Self::Docker,
            "cri-o" | "crio" => Self::CriO,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Containerd => "containerd",
            Self::Docker => "Docker Engine",
            Self::CriO => "CRI-O",
            Self::Unknown => "an unknown runtime",
        })
    }
}

/// Why a node gives pods no way to its runtime, whatever the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Restriction {
    /// AWS Fargate admits neither hostPath nor privileged.
    Fargate,
    /// A virtual node has no host.
    VirtualNode,
    /// GKE Autopilot admits neither hostPath (but below `/var/log`) nor privileged.
    Autopilot,
    /// Bottlerocket's SELinux policy denies its socket to pods that are not privileged.
    Bottlerocket,
}

impl fmt::Display for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fargate => "AWS Fargate",
            Self::VirtualNode => "a virtual node",
            Self::Autopilot => "GKE Autopilot",
            Self::Bottlerocket => "Bottlerocket (SELinux)",
        })
    }
}

/// A node's runtime, as far as strategies care.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuntimeFacts {
    /// The kind.
    pub kind: RuntimeKind,
    /// Its socket on the node, if pods could use it.
    pub socket: Option<String>,
    /// What forbids its use.
    pub restriction: Option<Restriction>,
    /// The kubelet's minor version, of Kubernetes 1.x.
    pub kubelet_minor: Option<u32>,
}

impl RuntimeFacts {
    /// What `node` says, the most explicit source first: label, then provider label, then the
    /// kubelet's report.
    #[must_use]
    pub fn of(node: &NodeObject) -> Self {
        let labels = &node.metadata.labels;
        let kind = labels
            .get(RUNTIME_LABEL)
            .or_else(|| labels.get(GKE_RUNTIME_LABEL))
            .map_or_else(
                || {
                    let reported = &node.status.node_info.container_runtime_version;
                    RuntimeKind::from_name(reported.split("://").next().unwrap_or_default())
                },
                |name| RuntimeKind::from_name(name),
            );
        Self {
            kind,
            socket: socket(node, kind),
            restriction: restriction(node),
            kubelet_minor: kubelet_minor(&node.status.node_info.kubelet_version),
        }
    }
}

fn kubelet_minor(version: &str) -> Option<u32> {
    let minor = version.strip_prefix("v1.")?.split('.').next()?;
    minor.trim_end_matches('+').parse().ok()
}

/// The socket on the node: what an annotation says, else what its distribution uses.
fn socket(node: &NodeObject, kind: RuntimeKind) -> Option<String> {
    let annotations = &node.metadata.annotations;
    let explicit = annotations.get(SOCKET_ANNOTATION).map(String::as_str);
    if let Some(path) = explicit.and_then(socket_path) {
        return Some(match kind {
            RuntimeKind::Docker => path.to_owned(),
            _ => canonical_path(path),
        });
    }
    match kind {
        RuntimeKind::Containerd => {
            let kubeadm = annotations
                .get(KUBEADM_SOCKET_ANNOTATION)
                .and_then(|value| socket_path(value))
                .filter(|path| !path.contains("docker"));
            // Two spellings of one socket must not make nodes differ.
            Some(canonical_path(
                kubeadm.unwrap_or_else(|| containerd_socket(node)),
            ))
        }
        // kubeadm's annotation names cri-dockerd's or dockershim's socket there: not Docker's.
        RuntimeKind::Docker => Some(DOCKER_SOCKET.to_owned()),
        RuntimeKind::CriO | RuntimeKind::Unknown => None,
    }
}

/// The path in `unix:///path` or `/path`. Anything else, a relative or climbing path too, is none.
fn socket_path(value: &str) -> Option<&str> {
    let path = value.strip_prefix("unix://").unwrap_or(value);
    let clean = path.starts_with('/')
        && path.len() > 1
        && !path.contains(':')
        && !path.chars().any(char::is_control)
        && path.split('/').all(|step| step != "..");
    clean.then_some(path)
}

/// Where the node's distribution puts containerd's socket.
fn containerd_socket(node: &NodeObject) -> &'static str {
    let labels = &node.metadata.labels;
    let kubelet = &node.status.node_info.kubelet_version;
    let instance = labels
        .get("node.kubernetes.io/instance-type")
        .map(String::as_str);
    if kubelet.contains("+k3s")
        || kubelet.contains("+rke2")
        || matches!(instance, Some("k3s" | "rke2"))
    {
        "/run/k3s/containerd/containerd.sock"
    } else if kubelet.contains("+k0s") {
        "/run/k0s/containerd.sock"
    } else if labels.contains_key("microk8s.io/cluster") {
        "/var/snap/microk8s/common/run/containerd.sock"
    } else {
        "/run/containerd/containerd.sock"
    }
}

fn restriction(node: &NodeObject) -> Option<Restriction> {
    let labels = &node.metadata.labels;
    let has = |key: &str, value: &str| labels.get(key).is_some_and(|v| v == value);
    let virtual_taint = node
        .spec
        .taints
        .iter()
        .any(|taint| taint.key.starts_with("virtual-kubelet.io/"));
    if has("eks.amazonaws.com/compute-type", "fargate") {
        Some(Restriction::Fargate)
    } else if has("type", "virtual-kubelet")
        || virtual_taint
        || node.metadata.name.starts_with("virtual-node-aci-")
    {
        Some(Restriction::VirtualNode)
    } else if is_autopilot(node) {
        Some(Restriction::Autopilot)
    } else if node.status.node_info.os_image.starts_with("Bottlerocket") {
        Some(Restriction::Bottlerocket)
    } else {
        None
    }
}

/// GKE names the nodes of Autopilot clusters `gk3-…`, those of standard clusters `gke-…`.
fn is_autopilot(node: &NodeObject) -> bool {
    let on_gke = node
        .metadata
        .labels
        .keys()
        .any(|key| key.starts_with("cloud.google.com/gke-"));
    on_gke && node.metadata.name.starts_with("gk3-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(node: serde_json::Value) -> RuntimeFacts {
        RuntimeFacts::of(&serde_json::from_value(node).unwrap())
    }

    fn reported(runtime: &str, kubelet: &str) -> serde_json::Value {
        json!({"metadata": {"name": "n"}, "status": {"nodeInfo": {
            "containerRuntimeVersion": runtime, "kubeletVersion": kubelet}}})
    }

    #[test]
    fn the_kubelets_report_tells_the_runtime_and_the_distribution_its_socket() {
        for (runtime, kubelet, kind, socket) in [
            (
                "containerd://2.1.4",
                "v1.34.1",
                RuntimeKind::Containerd,
                Some("/run/containerd/containerd.sock"),
            ),
            (
                "containerd://2.1.4-k3s1",
                "v1.34.1+k3s1",
                RuntimeKind::Containerd,
                Some("/run/k3s/containerd/containerd.sock"),
            ),
            (
                "containerd://2.1.4-k3s1",
                "v1.34.1+rke2r1",
                RuntimeKind::Containerd,
                Some("/run/k3s/containerd/containerd.sock"),
            ),
            (
                "containerd://1.7.27",
                "v1.34.1+k0s",
                RuntimeKind::Containerd,
                Some("/run/k0s/containerd.sock"),
            ),
            (
                "docker://20.10.24",
                "v1.23.17",
                RuntimeKind::Docker,
                Some("/var/run/docker.sock"),
            ),
            ("cri-o://1.31.0", "v1.31.0", RuntimeKind::CriO, None),
            ("", "", RuntimeKind::Unknown, None),
            ("nonsense", "v1", RuntimeKind::Unknown, None),
        ] {
            let facts = facts(reported(runtime, kubelet));
            assert_eq!(
                (facts.kind, facts.socket.as_deref()),
                (kind, socket),
                "{runtime} {kubelet}"
            );
        }
    }

    #[test]
    fn a_label_is_stronger_than_the_report() {
        let mut node = reported("containerd://2.1.4", "v1.34.1");
        node["metadata"]["labels"] = json!({RUNTIME_LABEL: "cri-o"});
        assert_eq!(facts(node).kind, RuntimeKind::CriO);
    }

    #[test]
    fn annotations_name_the_socket_in_all_their_forms() {
        for (annotations, socket) in [
            (json!({SOCKET_ANNOTATION: "/a/b.sock"}), "/a/b.sock"),
            (json!({SOCKET_ANNOTATION: "unix:///a/b.sock"}), "/a/b.sock"),
            (
                json!({KUBEADM_SOCKET_ANNOTATION: "unix:///run/c.sock"}),
                "/run/c.sock",
            ),
            (
                json!({KUBEADM_SOCKET_ANNOTATION: "/run/c.sock"}),
                "/run/c.sock",
            ),
            (
                json!({KUBEADM_SOCKET_ANNOTATION: "unix:///var/run/cri-dockerd.sock"}),
                "/run/containerd/containerd.sock",
            ),
            (
                json!({SOCKET_ANNOTATION: "../etc"}),
                "/run/containerd/containerd.sock",
            ),
            (
                json!({SOCKET_ANNOTATION: "/a/../../etc"}),
                "/run/containerd/containerd.sock",
            ),
        ] {
            let mut node = reported("containerd://2.1.4", "v1.34.1");
            node["metadata"]["annotations"] = annotations.clone();
            assert_eq!(facts(node).socket.as_deref(), Some(socket), "{annotations}");
        }
    }

    #[test]
    fn cri_dockerds_socket_is_not_dockers() {
        let mut node = reported("docker://27.0.0", "v1.34.1");
        node["metadata"]["annotations"] =
            json!({KUBEADM_SOCKET_ANNOTATION: "unix:///var/run/cri-dockerd.sock"});
        assert_eq!(facts(node).socket.as_deref(), Some("/var/run/docker.sock"));
    }

    #[test]
    fn nodes_without_a_host_are_told() {
        for (metadata, expected) in [
            (
                json!({"name": "n", "labels": {"eks.amazonaws.com/compute-type": "fargate"}}),
                Some(Restriction::Fargate),
            ),
            (
                json!({"name": "n", "labels": {"type": "virtual-kubelet"}}),
                Some(Restriction::VirtualNode),
            ),
            (
                json!({"name": "gk3-a-pool-1", "labels": {"cloud.google.com/gke-nodepool": "p"}}),
                Some(Restriction::Autopilot),
            ),
            (
                json!({"name": "gke-a-pool-1", "labels": {"cloud.google.com/gke-nodepool": "p"}}),
                None,
            ),
        ] {
            let mut node = reported("containerd://2.1.4", "v1.34.1");
            node["metadata"] = metadata;
            assert_eq!(facts(node.clone()).restriction, expected, "{node}");
        }
        let mut node = reported("containerd://1.7", "v1.30.1");
        node["status"]["nodeInfo"]["osImage"] = json!("Bottlerocket OS 1.20.0 (aws-k8s-1.30)");
        assert_eq!(facts(node).restriction, Some(Restriction::Bottlerocket));
    }

    #[test]
    fn kubelet_versions_of_every_spelling_are_read() {
        for (version, minor) in [
            ("v1.29.3", Some(29)),
            ("v1.28+", Some(28)),
            ("v1.30.1-eks-1", Some(30)),
            ("", None),
        ] {
            assert_eq!(kubelet_minor(version), minor, "{version}");
        }
    }
}
