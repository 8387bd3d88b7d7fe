//! The caches that a profile may ask for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    pool::Pool,
    values::{AbsolutePath, LabelKey, ObjectName},
};
use crate::k8s::quantity::Quantity;

/// What is on dockerd's data-root. A data-root belongs to one dockerd at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum DockerdCache {
    /// Directories of the node that outlive the pod, each held by one dockerd at a time; an
    /// `emptyDir` where none is free or no host path is admissible.
    NodeSlots(NodeSlots),
    /// Claims that outlive the pod, each leased to one pod at a time.
    Pool(Pool),
    /// One named claim. Only `ReadWriteOncePod` keeps a second runner off it.
    Pvc(Claim),
    /// A generic ephemeral volume: a claim that lives as long as the pod.
    Ephemeral(EphemeralClaim),
    /// A directory of the node that lives as long as the pod.
    EmptyDir(EmptyDir),
    /// No volume.
    None(NoVolume),
}

impl DockerdCache {
    /// The volume on the default data-root; with node slots, the one for pods that get no slot.
    #[must_use]
    pub fn volume(&self) -> Cache {
        match self {
            Self::NodeSlots(_) => Cache::EmptyDir(EmptyDir::default()),
            Self::Pool(pool) => pool.fallback(),
            Self::Pvc(claim) => Cache::Pvc(claim.clone()),
            Self::Ephemeral(claim) => Cache::Ephemeral(claim.clone()),
            Self::EmptyDir(dir) => Cache::EmptyDir(dir.clone()),
            Self::None(none) => Cache::None(none.clone()),
        }
    }

    /// The pool, if that is the type.
    #[must_use]
    pub fn pool(&self) -> Option<&Pool> {
        match self {
            Self::Pool(pool) => Some(pool),
            _ => None,
        }
    }

    /// The node slots, if that is the type.
    #[must_use]
    pub fn node_slots(&self) -> Option<&NodeSlots> {
        match self {
            Self::NodeSlots(slots) => Some(slots),
            _ => None,
        }
    }
}

/// Data-roots in a directory of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeSlots {
    /// The directory on the node. The slots of a pod are in `<root>/<namespace>/<cache key>`, and
    /// it sees no other directory.
    pub root: AbsolutePath,
    /// How many dockerds of one cache key may have a slot on one node at once.
    #[schemars(range(min = 1, max = 64))]
    pub slots: u8,
    /// The size of images and build cache, in bytes, to which a slot is pruned when a dockerd
    /// starts on it; `null` for no pruning.
    pub budget: Option<Quantity>,
    /// Which pods of a namespace share their slots.
    pub key: CacheKeySource,
    /// The pod label whose value is the key, with `key: label`.
    pub key_label: Option<LabelKey>,
}

impl Default for NodeSlots {
    fn default() -> Self {
        Self {
            root: AbsolutePath::built_in("/var/lib/slipway"),
            slots: 4,
            budget: "10G".parse().ok(),
            key: CacheKeySource::RunnerSet,
            key_label: None,
        }
    }
}

/// What tells apart the caches of one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CacheKeySource {
    /// Nothing: all pods of a namespace share.
    Namespace,
    /// The scale set, runner deployment, GitLab project or Buildkite queue of the pod.
    RunnerSet,
    /// A label of the pod.
    Label,
    /// The annotation `slipway.io/cache-key` of the pod.
    Annotation,
}

/// The volume behind a builder's state, which belongs to one daemon at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Cache {
    /// One named claim. Only `ReadWriteOncePod` keeps a second runner off it.
    Pvc(Claim),
    /// A generic ephemeral volume: a claim that lives as long as the pod.
    Ephemeral(EphemeralClaim),
    /// A directory of the node that lives as long as the pod.
    EmptyDir(EmptyDir),
    /// No volume.
    None(NoVolume),
}

/// One named claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claim {
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

/// The volume for a client-side BuildKit cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type", deny_unknown_fields)]
pub enum LocalCache {
    /// A directory of the node, one a namespace: `path` is where it is mounted, and the parent of
    /// the namespaces' directories on the node.
    #[serde(rename_all = "camelCase")]
    HostPath {
        /// The directory.
        path: AbsolutePath,
    },
    /// One named claim.
    #[serde(rename_all = "camelCase")]
    Pvc {
        /// The claim, in the pod's namespace.
        claim_name: ObjectName,
        /// Where it is mounted.
        path: AbsolutePath,
    },
    /// A directory that lives as long as the pod.
    #[serde(rename_all = "camelCase")]
    EmptyDir {
        /// Where it is mounted.
        path: AbsolutePath,
        /// The size beyond which the kubelet evicts the pod.
        #[serde(default)]
        size_limit: Option<Quantity>,
    },
    /// No volume.
    None {},
}
