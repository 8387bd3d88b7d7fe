//! The parts of a Node object that Slipway reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// The parts of a Node that matter. Everything else, above all images and `managedFields`, is
/// dropped while the object is parsed.
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
    /// True for a cordoned node.
    pub unschedulable: bool,
}

/// A taint, which keeps pods away that do not tolerate it.
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
}

impl NodeObject {
    /// Returns the value of a label.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.get(key).map(String::as_str)
    }

    /// Returns the value of an annotation.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key).map(String::as_str)
    }
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
