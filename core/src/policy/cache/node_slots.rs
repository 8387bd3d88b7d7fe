//! The cache type `nodeSlots`: directories of the node that outlive the pod.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key_source::CacheKeySource;
use crate::{
    k8s::quantity::Quantity,
    policy::values::{AbsolutePath, LabelKey},
};

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

impl NodeSlots {
    /// Returns what the slots are shared by, and the label to read the key from.
    #[must_use]
    pub fn key(&self) -> (CacheKeySource, Option<&str>) {
        (self.key, self.key_label.as_ref().map(LabelKey::as_str))
    }
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
