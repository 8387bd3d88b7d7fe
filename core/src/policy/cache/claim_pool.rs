//! The cache type `pool`: claims that outlive the pod.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    key_source::CacheKeySource,
    volumes::{AccessMode, CacheVolume, EmptyDir, EphemeralClaim, NoVolume},
};
use crate::{
    k8s::quantity::Quantity,
    policy::values::{LabelKey, ObjectName},
};

/// Claims of each namespace that has the profile, each leased to one pod at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Pool")]
pub struct ClaimPool {
    /// How many claims there may be in one namespace.
    #[schemars(range(min = 1, max = 1000))]
    pub claims: u16,
    /// How many claims without a pod and without layers are kept ready, while there are fewer than
    /// `claims`.
    #[schemars(range(min = 1, max = 1000))]
    pub min_free: u16,
    /// The storage class of the claims; the cluster's default when left out.
    pub storage_class: Option<ObjectName>,
    /// The size of each claim.
    pub size: Quantity,
    /// The access mode of the claims.
    pub access_mode: AccessMode,
    /// Additional labels of the claims.
    pub labels: BTreeMap<LabelKey, String>,
    /// Which pods of a namespace share layers.
    pub key: CacheKeySource,
    /// The pod label whose value is the key, with `key: label`.
    pub key_label: Option<LabelKey>,
    /// Whether a claim that served one key is never given to a pod of another.
    pub strict_keys: bool,
    /// The hours without use after which a free claim is deleted; `null` for never.
    #[schemars(range(min = 1))]
    pub expire_after_hours: Option<u32>,
    /// What a pod without a claim gets.
    pub fallback: Fallback,
}

impl Default for ClaimPool {
    fn default() -> Self {
        Self {
            claims: 10,
            min_free: 1,
            storage_class: None,
            size: Quantity::gibibytes(50),
            access_mode: AccessMode::ReadWriteOncePod,
            labels: BTreeMap::new(),
            key: CacheKeySource::RunnerSet,
            key_label: None,
            strict_keys: true,
            expire_after_hours: Some(7 * 24),
            fallback: Fallback::EmptyDir,
        }
    }
}

/// What a pod without a claim gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Fallback {
    /// A directory of the node that lives as long as the pod.
    EmptyDir,
    /// A claim of the same class and size that lives as long as the pod.
    Ephemeral,
    /// No volume.
    None,
}

impl ClaimPool {
    /// Returns the volume of a pod that gets no claim.
    #[must_use]
    pub fn fallback(&self) -> CacheVolume {
        match self.fallback {
            Fallback::EmptyDir => CacheVolume::EmptyDir(EmptyDir::default()),
            Fallback::Ephemeral => CacheVolume::Ephemeral(EphemeralClaim {
                storage_class: self.storage_class.clone(),
                size: self.size.clone(),
            }),
            Fallback::None => CacheVolume::None(NoVolume {}),
        }
    }
}
