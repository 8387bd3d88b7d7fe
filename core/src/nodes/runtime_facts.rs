//! Runtime facts: what one node says of its container runtime.
//!
//! The sources of each fact, the first that answers wins:
//!
//! | fact | sources |
//! | --- | --- |
//! | kind | label `slipway.io/container-runtime`; GKE's label; the kubelet's report |
//! | socket | annotation `slipway.io/runtime-socket`; kubeadm's annotation; the distribution ([`CONTAINERD_SOCKETS`]) |
//! | restriction | labels, taints, names and OS image ([`RESTRICTIONS`]) |
//! | kubelet's minor version | the kubelet's report |

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NodeObject;
use crate::pod::canonical_path;

/// The label that names a node's runtime. It wins over what the kubelet reports.
pub const RUNTIME_LABEL: &str = "slipway.io/container-runtime";
pub(super) const GKE_RUNTIME_LABEL: &str = "cloud.google.com/gke-container-runtime";
const SOCKET_ANNOTATION: &str = "slipway.io/runtime-socket";
const KUBEADM_SOCKET_ANNOTATION: &str = "kubeadm.alpha.kubernetes.io/cri-socket";

const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
const K3S_SOCKET: &str = "/run/k3s/containerd/containerd.sock";
const K0S_SOCKET: &str = "/run/k0s/containerd.sock";
const MICROK8S_SOCKET: &str = "/var/snap/microk8s/common/run/containerd.sock";
/// Docker Engine's own socket, not the one of cri-dockerd or dockershim.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Where a distribution puts containerd's socket, unless it is [`CONTAINERD_SOCKET`].
const CONTAINERD_SOCKETS: [(Sign, &str); 6] = [
    (Sign::KubeletVersionHas("+k3s"), K3S_SOCKET),
    (Sign::KubeletVersionHas("+rke2"), K3S_SOCKET),
    (Sign::Label(INSTANCE_TYPE, "k3s"), K3S_SOCKET),
    (Sign::Label(INSTANCE_TYPE, "rke2"), K3S_SOCKET),
    (Sign::KubeletVersionHas("+k0s"), K0S_SOCKET),
    (Sign::LabelKey("microk8s.io/cluster"), MICROK8S_SOCKET),
];
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";

/// The nodes that give pods no way to their runtime.
const RESTRICTIONS: [(Sign, Restriction); 6] = [
    (
        Sign::Label("eks.amazonaws.com/compute-type", "fargate"),
        Restriction::Fargate,
    ),
    (
        Sign::Label("type", "virtual-kubelet"),
        Restriction::VirtualNode,
    ),
    (
        Sign::TaintPrefix("virtual-kubelet.io/"),
        Restriction::VirtualNode,
    ),
    (
        Sign::NamePrefix("virtual-node-aci-"),
        Restriction::VirtualNode,
    ),
    // The nodes of standard clusters are named `gke-…`.
    (Sign::GkeNamePrefix("gk3-"), Restriction::Autopilot),
    (
        Sign::OsImagePrefix("Bottlerocket"),
        Restriction::Bottlerocket,
    ),
];

/// Something by which a distribution or a provider is known.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// The node has a label with this key and value.
    Label(&'static str, &'static str),
    /// The node has a label with this key.
    LabelKey(&'static str),
    /// A taint's key begins so.
    TaintPrefix(&'static str),
    /// The node's name begins so.
    NamePrefix(&'static str),
    /// The node's name begins so, and the node has a label of GKE.
    GkeNamePrefix(&'static str),
    /// The kubelet's version contains this.
    KubeletVersionHas(&'static str),
    /// The name of the OS image begins so.
    OsImagePrefix(&'static str),
}

impl Sign {
    fn is_on(self, node: &NodeObject) -> bool {
        let info = &node.status.node_info;
        let name = &node.metadata.name;
        match self {
            Self::Label(key, value) => node.label(key) == Some(value),
            Self::LabelKey(key) => node.label(key).is_some(),
            Self::TaintPrefix(prefix) => {
                let mut taints = node.spec.taints.iter();
                taints.any(|taint| taint.key.starts_with(prefix))
            }
            Self::NamePrefix(prefix) => name.starts_with(prefix),
            Self::GkeNamePrefix(prefix) => {
                let mut labels = node.metadata.labels.keys();
                name.starts_with(prefix)
                    && labels.any(|key| key.starts_with("cloud.google.com/gke-"))
            }
            Self::KubeletVersionHas(part) => info.kubelet_version.contains(part),
            Self::OsImagePrefix(prefix) => info.os_image.starts_with(prefix),
        }
    }
}

/// Returns the value of the first row whose sign is on the node.
fn first_match<T: Copy>(rows: &[(Sign, T)], node: &NodeObject) -> Option<T> {
    let row = rows.iter().find(|(sign, _)| sign.is_on(node));
    row.map(|(_, value)| *value)
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
    /// Another runtime, or one that the node does not report.
    Unknown,
}

impl RuntimeKind {
    /// Returns the usual socket of this runtime, if pods can use it.
    #[must_use]
    pub fn usual_socket(self) -> Option<&'static str> {
        match self {
            Self::Containerd => Some(CONTAINERD_SOCKET),
            Self::Docker => Some(DOCKER_SOCKET),
            Self::CriO | Self::Unknown => None,
        }
    }

    /// Returns its name in the policy file and in metrics.
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

/// The reason why a node gives pods no way to its runtime, whatever the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Restriction {
    /// AWS Fargate allows neither hostPath volumes nor privileged containers.
    Fargate,
    /// A virtual node has no host.
    VirtualNode,
    /// GKE Autopilot allows neither hostPath volumes, except below `/var/log`, nor privileged
    /// containers.
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
    /// The kind of the runtime.
    pub kind: RuntimeKind,
    /// Its socket on the node, if pods could use it.
    pub socket: Option<String>,
    /// What forbids its use.
    pub restriction: Option<Restriction>,
    /// The kubelet's minor version, of Kubernetes 1.x.
    pub kubelet_minor: Option<u32>,
}

impl RuntimeFacts {
    /// Reads what `node` says, from the sources in this module's table.
    #[must_use]
    pub fn of(node: &NodeObject) -> Self {
        let kind = kind(node);
        Self {
            kind,
            socket: socket(node, kind),
            restriction: first_match(&RESTRICTIONS, node),
            kubelet_minor: kubelet_minor(&node.status.node_info.kubelet_version),
        }
    }
}

fn kind(node: &NodeObject) -> RuntimeKind {
    let reported = || {
        let version = &node.status.node_info.container_runtime_version;
        version.split("://").next().unwrap_or_default()
    };
    let name = node
        .label(RUNTIME_LABEL)
        .or_else(|| node.label(GKE_RUNTIME_LABEL));
    RuntimeKind::from_name(name.unwrap_or_else(reported))
}

fn kubelet_minor(version: &str) -> Option<u32> {
    let minor = version.strip_prefix("v1.")?.split('.').next()?;
    minor.trim_end_matches('+').parse().ok()
}

fn socket(node: &NodeObject, kind: RuntimeKind) -> Option<String> {
    let explicit = node.annotation(SOCKET_ANNOTATION).and_then(socket_path);
    match kind {
        // kubeadm's annotation names the socket of cri-dockerd or dockershim there, not Docker's.
        RuntimeKind::Docker => Some(explicit.unwrap_or(DOCKER_SOCKET).to_owned()),
        RuntimeKind::Containerd => {
            let kubeadm = || {
                let path = socket_path(node.annotation(KUBEADM_SOCKET_ANNOTATION)?)?;
                (!path.contains("docker")).then_some(path)
            };
            let path = explicit
                .or_else(kubeadm)
                .or_else(|| first_match(&CONTAINERD_SOCKETS, node))
                .unwrap_or(CONTAINERD_SOCKET);
            // Two spellings of one socket must not make nodes differ.
            Some(canonical_path(path))
        }
        RuntimeKind::CriO | RuntimeKind::Unknown => explicit.map(canonical_path),
    }
}

/// Returns the path in `unix:///path` or `/path`. Anything else is ignored, as are relative paths
/// and those with `..`.
fn socket_path(value: &str) -> Option<&str> {
    let path = value.strip_prefix("unix://").unwrap_or(value);
    let is_clean = path.starts_with('/')
        && path.len() > 1
        && !path.contains(':')
        && !path.chars().any(char::is_control)
        && path.split('/').all(|segment| segment != "..");
    is_clean.then_some(path)
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
    fn the_kubelet_reports_the_runtime_and_the_distribution_decides_the_socket() {
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
    fn the_label_wins_over_the_report() {
        let mut node = reported("containerd://2.1.4", "v1.34.1");
        node["metadata"]["labels"] = json!({RUNTIME_LABEL: "cri-o"});
        assert_eq!(facts(node).kind, RuntimeKind::CriO);
    }

    #[test]
    fn annotations_name_the_socket_in_every_accepted_form() {
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
    fn the_socket_of_cri_dockerd_is_not_the_one_of_docker() {
        let mut node = reported("docker://27.0.0", "v1.34.1");
        node["metadata"]["annotations"] =
            json!({KUBEADM_SOCKET_ANNOTATION: "unix:///var/run/cri-dockerd.sock"});
        assert_eq!(facts(node).socket.as_deref(), Some("/var/run/docker.sock"));
    }

    #[test]
    fn restricted_nodes_are_recognised() {
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
    fn kubelet_versions_of_every_spelling_are_parsed() {
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
