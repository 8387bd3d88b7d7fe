//! The volume on dockerd's data-root. Without one, on a node whose file system is an overlay,
//! dockerd falls back to the driver `vfs`, which copies every layer.

use super::{builder::Builder, leased_claim, resources};
use crate::{
    patch::{self, VolumeSource},
    pod::{ContainerRef, is_within},
    policy::{AccessMode, CacheVolume, DockerdCache, EphemeralClaim, NamedClaim},
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
    if is_own_empty_dir(builder, dockerd, path) && !wants_another_volume(builder) {
        return DataRoot::Temporary;
    }
    let leased = builder
        .is_unoccupied(dockerd, path)
        .then(|| leased_claim::source(builder))
        .flatten();
    let Some(source) = leased.or_else(|| source(builder, &cache)) else {
        return DataRoot::OfThePod;
    };
    if builder.mount(dockerd, path.to_owned(), VOLUME, &source) {
        warn_of_sharing(builder, &cache, &source);
        DataRoot::of(&source)
    } else if builder.is_ours(dockerd, path, VOLUME) {
        DataRoot::Temporary
    } else {
        DataRoot::OfThePod
    }
}

/// Returns whether the pod mounts an `emptyDir` of its own there. It serves like one of Slipway's.
fn is_own_empty_dir(builder: &Builder<'_, '_>, dockerd: ContainerRef, path: &str) -> bool {
    let container = builder.container(dockerd);
    let Some(mount) = container.and_then(|container| container.mount_at(path)) else {
        return false;
    };
    let mut volumes = builder.pod.volumes().iter();
    let volume = volumes.find(|volume| volume.name.as_str() == mount.name.as_str());
    let mut below = container.iter().flat_map(|c| c.mounts());
    volume.is_some_and(|volume| volume.empty_dir.is_some())
        && below.all(|other| std::ptr::eq(other, mount) || !is_within(&other.mount_path, path))
}

/// Returns whether the profile wants a volume on the data-root that an `emptyDir` does not replace.
fn wants_another_volume(builder: &Builder<'_, '_>) -> bool {
    match &builder.plan.profile.dind.cache {
        DockerdCache::Pool(_) | DockerdCache::Pvc(_) | DockerdCache::Ephemeral(_) => true,
        DockerdCache::EmptyDir(dir) => dir.size_limit.is_some(),
        DockerdCache::NodeSlots(_) | DockerdCache::None(_) => false,
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
        CacheVolume::Pvc(_) if changes_group(builder) => {
            builder.note(Reason::FsGroup);
            Some(VolumeSource::empty_dir())
        }
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

/// Returns whether the kubelet would change the group and the mode of every file of a claim, at each mount.
pub(super) fn changes_group(builder: &Builder<'_, '_>) -> bool {
    let context = builder.pod.spec.security_context.as_ref();
    context.is_some_and(|context| {
        let policy = context.fs_group_change_policy.as_deref();
        context.fs_group.is_some() && policy != Some("OnRootMismatch")
    })
}

/// Notes that the pod may be evicted for its layers, if nothing but the pod's own volumes can hold them.
pub(super) fn warn_of_eviction(builder: &mut Builder<'_, '_>) {
    if let Some(limit) = resources::ephemeral_storage_limit(builder.pod) {
        builder.note(Reason::EphemeralStorageLimit(limit));
    }
}

/// Notes that two daemons may get one claim: the second is refused, and its job is lost.
pub(super) fn warn_of_sharing(
    builder: &mut Builder<'_, '_>,
    cache: &CacheVolume,
    source: &VolumeSource<'_>,
) {
    if let CacheVolume::Pvc(NamedClaim {
        claim_name,
        access_mode,
    }) = cache
        && matches!(source, VolumeSource::PersistentVolumeClaim(_))
        && *access_mode != AccessMode::ReadWriteOncePod
    {
        builder.note(Reason::ClaimMayBeShared(claim_name.to_string()));
    }
}
