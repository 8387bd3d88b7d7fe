//! What is kept of the objects that are watched. Everything else, `managedFields` and the images of
//! nodes above all, is skipped as it is read, and takes no memory.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, core::ClusterResourceScope, core::NamespaceResourceScope};
use serde::{Deserialize, Deserializer};

use slipway_core::{
    k8s::limits::{LimitRangeSpec, ResourceQuotaSpec},
    nodes::{NodeObject, NodeSpec, NodeStatus},
};

/// A Node.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Node {
    #[serde(deserialize_with = "lean")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

impl Node {
    /// As the core takes it.
    pub(super) fn into_facts(self) -> NodeObject {
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
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Namespace {
    #[serde(deserialize_with = "lean")]
    pub metadata: ObjectMeta,
}

/// A LimitRange.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LimitRange {
    #[serde(deserialize_with = "lean")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: LimitRangeSpec,
}

/// A ResourceQuota.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ResourceQuota {
    #[serde(deserialize_with = "lean")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: ResourceQuotaSpec,
}

/// The metadata that a watch needs, and what decisions look at.
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

macro_rules! core_v1 {
    ($type:ty, $kind:literal, $plural:literal, $scope:ty) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> Cow<'_, str> {
                "".into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

core_v1!(Node, "Node", "nodes", ClusterResourceScope);
core_v1!(Namespace, "Namespace", "namespaces", ClusterResourceScope);
core_v1!(
    ResourceQuota,
    "ResourceQuota",
    "resourcequotas",
    NamespaceResourceScope
);
core_v1!(
    LimitRange,
    "LimitRange",
    "limitranges",
    NamespaceResourceScope
);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bulk_is_dropped_and_what_decides_is_kept() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"a": "b"}, "annotations": null, "resourceVersion": "7",
                "managedFields": [{"manager": "kubelet"}], "ownerReferences": [{"kind": "X"}]},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}], "podCIDR": "10.0.0.0/24"},
            "status": {"images": [{"names": ["x"]}], "nodeInfo": {"containerRuntimeVersion": "containerd://2.1.4"}}
        }))
        .unwrap();
        assert_eq!(node.metadata.managed_fields, None);
        assert_eq!(node.metadata.resource_version.as_deref(), Some("7"));
        let facts = node.into_facts();
        assert_eq!(facts.metadata.labels["a"], "b");
        assert_eq!(facts.spec.taints.len(), 1);
        assert_eq!(
            facts.status.node_info.container_runtime_version,
            "containerd://2.1.4"
        );
    }
}
