//! The cache type `pool`: claims that outlive the pod.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    cache::{AccessMode, Cache, CacheKeySource, EmptyDir, EphemeralClaim, NoVolume},
    values::{LabelKey, ObjectName},
};
use crate::k8s::{
    names::{is_dns_label, is_label_value},
    quantity::Quantity,
};

/// Beyond this, a pool is a mistake: nothing pays for so many volumes in one namespace.
const MAX_CLAIMS: u16 = 1000;
/// The profile's name is a part of its claims' names and the value of their label.
const MAX_PROFILE_NAME: usize = 40;
/// Labels of these domains belong to Slipway.
const OWN_DOMAIN: &str = "slipway.io/";

/// Claims of each namespace that has the profile, each leased to one pod at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Pool {
    /// How many claims there may be in one namespace.
    #[schemars(range(min = 1, max = 1000))]
    pub claims: u16,
    /// How many claims without a pod and without layers of any key are kept ready, while there are
    /// fewer than `claims`.
    #[schemars(range(min = 1, max = 1000))]
    pub min_free: u16,
    /// The storage class of the claims; the cluster's default when left out.
    pub storage_class: Option<ObjectName>,
    /// The size of each claim.
    pub size: Quantity,
    /// The access mode of the claims.
    pub access_mode: AccessMode,
    /// More labels of the claims.
    pub labels: BTreeMap<LabelKey, String>,
    /// Which pods of a namespace share layers.
    pub key: CacheKeySource,
    /// The pod label whose value is the key, with `key: label`.
    pub key_label: Option<LabelKey>,
    /// Whether a claim that served one key is never given to a pod of another.
    pub strict_keys: bool,
    /// A free claim that was not used for so many hours is deleted; `null` for never.
    #[schemars(range(min = 1))]
    pub expire_after_hours: Option<u32>,
    /// What a pod gets that gets no claim.
    pub fallback: Fallback,
}

impl Default for Pool {
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

/// What a pod gets that gets no claim.
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

impl Pool {
    /// The volume of a pod that gets no claim.
    #[must_use]
    pub fn fallback(&self) -> Cache {
        match self.fallback {
            Fallback::EmptyDir => Cache::EmptyDir(EmptyDir::default()),
            Fallback::Ephemeral => Cache::Ephemeral(EphemeralClaim {
                storage_class: self.storage_class.clone(),
                size: self.size.clone(),
            }),
            Fallback::None => Cache::None(NoVolume {}),
        }
    }

    /// Checks what spans several keys. `profile` is the profile's name.
    ///
    /// # Errors
    /// The key below `dind.cache`, and what is wrong with it.
    pub(super) fn check(&self, profile: &str) -> Result<(), (&'static str, &'static str)> {
        let by_label = self.key == CacheKeySource::Label;
        let own = |key: &LabelKey| key.as_str().starts_with(OWN_DOMAIN);
        if !is_dns_label(profile) || profile.len() > MAX_PROFILE_NAME {
            let message = "a profile with a pool needs a name of at most 40 lower-case letters, digits and `-`: its claims are named after it";
            Err(("type", message))
        } else if !(1..=MAX_CLAIMS).contains(&self.claims) {
            Err(("claims", "expected 1 to 1000"))
        } else if !(1..=self.claims).contains(&self.min_free) {
            Err(("minFree", "expected 1 or more, and not more than `claims`"))
        } else if self.size.nano() == 0 {
            Err(("size", "a claim needs a size above zero"))
        } else if self.access_mode == AccessMode::ReadWriteMany {
            let message = "dockerd does not run on a shared file system: expected ReadWriteOncePod or ReadWriteOnce";
            Err(("accessMode", message))
        } else if self.labels.keys().any(own) {
            Err(("labels", "labels of slipway.io belong to Slipway"))
        } else if !self.labels.values().all(|value| is_label_value(value)) {
            Err((
                "labels",
                "a value is no label value: at most 63 letters, digits, `-`, `_` and `.`",
            ))
        } else if by_label && self.key_label.is_none() {
            Err(("keyLabel", "key: label needs the label"))
        } else if !by_label && self.key_label.is_some() {
            Err(("keyLabel", "it is read with key: label only"))
        } else if self.expire_after_hours == Some(0) {
            Err(("expireAfterHours", "expected 1 or more, or null for never"))
        } else {
            Ok(())
        }
    }
}
