//! Volumes for the state of one daemon.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NodeSlots;
use crate::{k8s::quantity::Quantity, policy::values::ObjectName};

/// The volume behind a builder's state, which belongs to one daemon at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
#[schemars(rename = "Cache")]
pub enum CacheVolume {
    /// One named claim. Only `ReadWriteOncePod` keeps a second runner off it.
    Pvc(NamedClaim),
    /// A generic ephemeral volume: a claim that lives as long as the pod.
    Ephemeral(EphemeralClaim),
    /// A directory of the node that lives as long as the pod.
    EmptyDir(EmptyDir),
    /// No volume.
    None(NoVolume),
}

/// What holds the state of the buildkitd sidecar, which belongs to one daemon at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum BuildkitdCache {
    /// Directories of the node that outlive the pod, the same as those of dockerd where `root` and the key are the
    /// same; an `emptyDir` where none is free.
    NodeSlots(NodeSlots),
    /// A claim that is leased from the profile's pool, `dind.cache`.
    Pool(LeasedClaim),
    /// One named claim. Only `ReadWriteOncePod` keeps a second runner off it.
    Pvc(NamedClaim),
    /// A generic ephemeral volume: a claim that lives as long as the pod.
    Ephemeral(EphemeralClaim),
    /// A directory of the node that lives as long as the pod.
    EmptyDir(EmptyDir),
    /// No volume.
    None(NoVolume),
}

/// A claim of the pool: `dind.cache` has its settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeasedClaim {}

/// One named claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Claim")]
pub struct NamedClaim {
    /// The claim, in the pod's namespace.
    pub claim_name: ObjectName,
    /// The claim's access mode.
    #[serde(default)]
    pub access_mode: AccessMode,
}

/// A claim that lives as long as the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EphemeralClaim {
    /// Its storage class; the cluster's default when left out.
    #[serde(default)]
    pub storage_class: Option<ObjectName>,
    /// Its size.
    pub size: Quantity,
}

/// A directory of the node that lives as long as the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EmptyDir {
    /// The size beyond which the kubelet evicts the pod.
    pub size_limit: Option<Quantity>,
}

/// No volume: nothing to set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoVolume {}

/// The access mode of a claim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// Many pods of one node may use it.
    #[default]
    ReadWriteOnce,
    /// One pod may use it.
    ReadWriteOncePod,
    /// Many pods may use it.
    ReadWriteMany,
}
