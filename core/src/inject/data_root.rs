//! The volume on dockerd's data-root. Without one, on a node whose file system is an overlay,
//! dockerd falls back to the driver `vfs`, which copies every layer.

use super::{builder::Builder, leased_claim, resources};
use crate::{
    patch::{self, VolumeSource},
    pod::ContainerRef,
    policy::{AccessMode, CacheVolume, EphemeralClaim, NamedClaim},
    reason::Reason,
};

pub(super) const VOLUME: &str = "slipway-docker-cache";

/// What is on dockerd's data-root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataRoot {
    /// What the pod has there, which stays.
    OfThePod,
    /// A volume of Slipway's that ends with the pod, or none.
    Temporary,
    /// A claim that outlives the pod, on the usual path.
    Claim,
}

/// Mounts the volume on `path`.
pub(super) fn inject(builder: &mut Builder<'_, '_>, dockerd: ContainerRef, path: &str) -> DataRoot {
    let cache = builder.plan.profile.dind.cache.volume();
    let leased = builder
        .is_unoccupied(dockerd, path)
        .then(|| leased_claim::source(builder))
        .flatten();
    let Some(source) = leased.or_else(|| source(builder, &cache)) else {
        return DataRoot::OfThePod;
    };
    if builder.mount(dockerd, path.to_owned(), VOLUME, &source) {
        warn_of_sharing(builder, &cache);
        DataRoot::of(&source)
    } else if builder.is_ours(dockerd, path, VOLUME) {
        DataRoot::Temporary
    } else {
        DataRoot::OfThePod
    }
}

impl DataRoot {
    /// Classifies a volume of Slipway's.
    pub fn of(source: &VolumeSource<'_>) -> Self {
        match source {
            VolumeSource::PersistentVolumeClaim(_) => Self::Claim,
            _ => Self::Temporary,
        }
    }
}

/// Returns the volume source for a cache; `None` for no volume.
pub(super) fn source<'a>(
    builder: &mut Builder<'_, 'a>,
    cache: &CacheVolume,
) -> Option<VolumeSource<'a>> {
    match cache {
        CacheVolume::Pvc(claim) => Some(VolumeSource::claim(claim.claim_name.to_string())),
        CacheVolume::Ephemeral(EphemeralClaim {
            storage_class,
            size,
        }) => Some(VolumeSource::Ephemeral(patch::EphemeralClaim {
            storage_class: storage_class.as_ref().map(ToString::to_string),
            size: resources::claim_size(builder, size),
        })),
        CacheVolume::EmptyDir(dir) => Some(VolumeSource::EmptyDir(patch::EmptyDir {
            size_limit: dir.size_limit.clone(),
        })),
        CacheVolume::None(_) => None,
    }
}

/// Notes that two dockerds may get one data-root: the second is refused, and its job is lost.
pub(super) fn warn_of_sharing(builder: &mut Builder<'_, '_>, cache: &CacheVolume) {
    if let CacheVolume::Pvc(NamedClaim {
        claim_name,
        access_mode,
    }) = cache
        && *access_mode != AccessMode::ReadWriteOncePod
    {
        builder.note(Reason::ClaimMayBeShared(claim_name.to_string()));
    }
}
