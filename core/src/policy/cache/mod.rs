//! The caches that a profile may ask for.

mod claim_pool;
mod key_source;
mod node_slots;
mod volumes;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use claim_pool::{ClaimPool, Fallback};
pub use key_source::CacheKeySource;
pub use node_slots::NodeSlots;
pub use volumes::{
    AccessMode, BuildkitdCache, CacheVolume, EmptyDir, EphemeralClaim, NamedClaim, NoVolume,
};

use super::values::{AbsolutePath, LabelKey, ObjectName};
use crate::k8s::quantity::Quantity;

/// What is on dockerd's data-root. A data-root belongs to one dockerd at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum DockerdCache {
    /// Directories of the node that outlive the pod, each held by one dockerd at a time; an
    /// `emptyDir` where none is free or no host path is admissible.
    NodeSlots(NodeSlots),
    /// Claims that outlive the pod, each leased to one pod at a time.
    Pool(ClaimPool),
    /// One named claim. Only `ReadWriteOncePod` keeps a second runner off it.
    Pvc(NamedClaim),
    /// A generic ephemeral volume: a claim that lives as long as the pod.
    Ephemeral(EphemeralClaim),
    /// A directory of the node that lives as long as the pod.
    EmptyDir(EmptyDir),
    /// No volume.
    None(NoVolume),
}

impl DockerdCache {
    /// Returns the volume on the default data-root; for node slots and pools, that of a pod that gets none.
    #[must_use]
    pub fn volume(&self) -> CacheVolume {
        match self {
            Self::NodeSlots(_) => CacheVolume::EmptyDir(EmptyDir::default()),
            Self::Pool(pool) => pool.fallback(),
            Self::Pvc(claim) => CacheVolume::Pvc(claim.clone()),
            Self::Ephemeral(claim) => CacheVolume::Ephemeral(claim.clone()),
            Self::EmptyDir(dir) => CacheVolume::EmptyDir(dir.clone()),
            Self::None(none) => CacheVolume::None(none.clone()),
        }
    }

    /// Returns what the cache is shared by, and the label to read the key from; `None` for caches that
    /// are not shared by key.
    #[must_use]
    pub fn key(&self) -> Option<(CacheKeySource, Option<&str>)> {
        match self {
            Self::NodeSlots(slots) => Some(slots.key()),
            Self::Pool(pool) => Some((pool.key, pool.key_label.as_ref().map(LabelKey::as_str))),
            Self::Pvc(_) | Self::Ephemeral(_) | Self::EmptyDir(_) | Self::None(_) => None,
        }
    }

    /// Returns the pool of claims, if that is the type.
    #[must_use]
    pub fn claim_pool(&self) -> Option<&ClaimPool> {
        match self {
            Self::Pool(pool) => Some(pool),
            _ => None,
        }
    }

    /// Returns the node slots, if that is the type.
    #[must_use]
    pub fn node_slots(&self) -> Option<&NodeSlots> {
        match self {
            Self::NodeSlots(slots) => Some(slots),
            _ => None,
        }
    }
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
