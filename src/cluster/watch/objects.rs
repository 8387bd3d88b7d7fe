//! The parts of watched objects that are kept. The rest, `managedFields` and the images of nodes above all, is
//! skipped while it is read and takes no memory.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Deserializer};

use slipway_core::{
    k8s::limits::{LimitRangeSpec, ResourceQuotaSpec},
    nodes::{NodeObject, NodeSpec, NodeStatus},
};

/// A Node.
#[derive(Debug, Clone, Deserialize, Resource)]
#[resource(inherit = "v1::Node")]
pub(super) struct Node {
    #[serde(deserialize_with = "lean")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

impl Node {
    /// Converts the node into the form that the core takes.
    pub(super) fn into_object(self) -> NodeObject {
        let mut node = NodeObject {
            spec: self.spec,
            status: self.status,
            ..NodeObject::default()
        };
        node.metadata.name = self.metadata.name.unwrap_or_default();
        node.metadata.labels = self.metadata.labels.unwrap_or_default();
        node.metadata.annotations = self.metadata.annotations.unwrap_or_default();
        node
    }
}

/// A Namespace.
#[derive(Debug, Clone, Deserialize, Resource)]
#[resource(inherit = "v1::Namespace")]
pub(super) struct Namespace {
    #[serde(deserialize_with = "lean")]
    pub metadata: ObjectMeta,
}

/// A LimitRange.
#[derive(Debug, Clone, Deserialize, Resource)]
#[resource(inherit = "v1::LimitRange")]
pub(super) struct LimitRange {
    #[serde(deserialize_with = "lean")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: LimitRangeSpec,
}

/// A ResourceQuota.
#[derive(Debug, Clone, Deserialize, Resource)]
#[resource(inherit = "v1::ResourceQuota")]
pub(super) struct ResourceQuota {
    #[serde(deserialize_with = "lean")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: ResourceQuotaSpec,
}

/// Reads the metadata that a watch and decisions need.
fn lean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Lean {
        name: Option<String>,
        namespace: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        resource_version: Option<String>,
    }
    let lean = Lean::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: lean.name,
        namespace: lean.namespace,
        labels: lean.labels,
        annotations: lean.annotations,
        resource_version: lean.resource_version,
        ..ObjectMeta::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_decisions_and_watches_need_is_kept() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"a": "b"}, "annotations": null, "resourceVersion": "7",
                "managedFields": [{"manager": "kubelet"}], "ownerReferences": [{"kind": "X"}]},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}], "podCIDR": "10.0.0.0/24"},
            "status": {"images": [{"names": ["x"]}], "nodeInfo": {"containerRuntimeVersion": "containerd://2.1.4"}}
        }))
        .unwrap();
        assert_eq!(node.metadata.managed_fields, None);
        assert_eq!(node.metadata.resource_version.as_deref(), Some("7"));
        let node = node.into_object();
        assert_eq!(node.metadata.labels["a"], "b");
        assert_eq!(node.spec.taints.len(), 1);
        assert_eq!(
            node.status.node_info.container_runtime_version,
            "containerd://2.1.4"
        );
    }
}
