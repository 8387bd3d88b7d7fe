//! The buildkitd sidecar beside a containerd socket.

use super::{
    builder::Builder,
    buildkitd_config, data_root, leased_claim, resources,
    sidecar::{SOCKET_GROUP, add, share_socket},
    start,
};
use crate::{
    decide::DockerdPlan,
    dockerd::{BuildkitdStart, KeptRoot, Setting},
    patch::{NewContainer, Probe, SecurityContext, VolumeMount, VolumeSource, Words},
    policy::{Buildkitd, BuildkitdCache, CacheVolume, EmptyDir, NodeSlots},
    reason::{AddedDaemon, Reason},
};

/// The container's name.
pub const BUILDKITD: &str = "slipway-buildkitd";
const BUILDKIT_HOST: &str = "BUILDKIT_HOST";
/// The directory of buildkitd's socket, in both containers.
const BUILDKIT_RUN: &str = "/opt/slipway/buildkit";
/// The address of its socket.
pub const ADDRESS: &str = "unix:///opt/slipway/buildkit/buildkitd.sock";
/// The directory in which buildx keeps its builders, in both containers.
const BUILDX_DIR: &str = "/opt/slipway/buildx";
const BUILDX_VOLUME: &str = "slipway-buildx";
/// The variables by which buildx finds a builder: its directory, and the name that the start wrapper writes there.
const BUILDX_VARIABLES: [(&str, &str); 2] =
    [("BUILDX_CONFIG", BUILDX_DIR), ("BUILDX_BUILDER", "slipway")];
/// buildkitd's usual state directory.
const STATE_DIR: &str = "/var/lib/buildkit";
const STATE_VOLUME: &str = "slipway-buildkitd-cache";
const SLOTS_VOLUME: &str = "slipway-buildkitd-slots";
/// Where the start wrapper finds a leased claim.
const CLAIM_DIR: &str = "/opt/slipway/claim";
const CLAIM_VOLUME: &str = "slipway-buildkitd-claim";
/// Annotation that delivers buildkitd.toml with the pod.
const BUILDKITD_TOML: &str = "slipway.io/buildkitd.toml";
const BUILDKITD_TOML_VOLUME: &str = "slipway-buildkitd-toml";

/// Adds buildkitd with its OCI worker and a cache of its own: it needs nothing of the node's runtime.
pub(super) fn add_buildkitd<'a>(builder: &mut Builder<'_, 'a>, settings: &'a Buildkitd) {
    if builder.has_container(BUILDKITD) || builds_elsewhere(builder) {
        return;
    }
    let plan = builder.plan;
    if !builder.pod.spec.has_pod_level_resources()
        && let Some(resource) = settings
            .resources
            .missing_for_quota(plan.quotas, plan.limits)
    {
        builder.note(Reason::QuotaDemands {
            container: AddedDaemon::Buildkitd,
            resource: resource.to_owned(),
        });
        return;
    }
    let run = share_socket(
        builder,
        "slipway-buildkit-run",
        BUILDKIT_RUN,
        BUILDKIT_HOST,
        ADDRESS,
    );
    let mut mounts = vec![run];
    let has_dockerd = matches!(
        plan.dockerd,
        DockerdPlan::Sidecar(_) | DockerdPlan::InRunner(_) | DockerdPlan::Add
    );
    let kept_root = mount_state(builder, &settings.cache, has_dockerd, &mut mounts);
    let buildx = (!has_dockerd).then(|| share_buildx(builder)).flatten();
    let start = BuildkitdStart {
        kept_root,
        shares_builder: buildx.is_some(),
    };
    mounts.extend(buildx);
    mounts.extend(buildkitd_toml(builder, kept_root));
    // The socket is open to root and one group, which a runner that is not root needs to be in.
    let groups = &plan.profile.containerd.supplemental_groups;
    let group = groups.first().copied().unwrap_or(SOCKET_GROUP);
    builder.supplemental_group(group);
    let group = group.to_string();
    let args = [
        "--addr",
        ADDRESS,
        "--oci-worker=true",
        "--containerd-worker=false",
        "--group",
        &group,
    ];
    let container = NewContainer {
        name: BUILDKITD,
        image: settings.image.as_str().into(),
        command: Words(start.command()),
        args: args.map(|word| word.to_owned().into()).into(),
        resources: resources::of_added(builder, &settings.resources),
        security_context: SecurityContext::PRIVILEGED,
        startup_probe: Some(Probe::exec([
            "buildctl", "--addr", ADDRESS, "debug", "workers",
        ])),
        volume_mounts: mounts,
        ..NewContainer::default()
    };
    add(builder, container);
}

/// Returns whether a client of the pod has a buildkitd already, with a note.
fn builds_elsewhere(builder: &mut Builder<'_, '_>) -> bool {
    let mut clients = builder.plan.clients.iter();
    let has_own = clients.any(|at| {
        let client = builder.container(*at);
        client.is_some_and(|client| client.env_var(BUILDKIT_HOST).is_some())
    });
    if has_own {
        builder.note(Reason::PodSets(Setting::Variable(BUILDKIT_HOST.to_owned())));
    }
    has_own
}

/// Mounts what holds buildkitd's state. Returns where the start wrapper finds a state that outlives the pod: slots, or a
/// claim that a dockerd may have used. A named claim is buildkitd's own, with the state at its root.
fn mount_state<'a>(
    builder: &mut Builder<'_, 'a>,
    cache: &'a BuildkitdCache,
    has_dockerd: bool,
    mounts: &mut Vec<VolumeMount<'a>>,
) -> Option<KeptRoot> {
    let dind_cache = &builder.plan.profile.dind.cache;
    let (kept, volume) = match cache {
        BuildkitdCache::NodeSlots(_) | BuildkitdCache::Pool(_) if has_dockerd => {
            (None, CacheVolume::EmptyDir(EmptyDir::default()))
        }
        BuildkitdCache::NodeSlots(slots) => {
            let kept = mount_slots(builder, slots, mounts);
            (kept, CacheVolume::EmptyDir(EmptyDir::default()))
        }
        BuildkitdCache::Pool(_) => (mount_claim(builder, mounts), dind_cache.volume()),
        BuildkitdCache::Pvc(claim) => (None, CacheVolume::Pvc(claim.clone())),
        BuildkitdCache::Ephemeral(claim) => (None, CacheVolume::Ephemeral(claim.clone())),
        BuildkitdCache::EmptyDir(dir) => (None, CacheVolume::EmptyDir(dir.clone())),
        BuildkitdCache::None(none) => (None, CacheVolume::None(none.clone())),
    };
    // Beside a leased claim, only a state that cannot be on it is here.
    let volume = match (kept, volume) {
        (Some(KeptRoot::Claim), _) => CacheVolume::EmptyDir(EmptyDir::default()),
        (_, volume) => volume,
    };
    if let Some(source) = data_root::source(builder, &volume) {
        let name = builder.new_volume(STATE_VOLUME, &source);
        mounts.push(VolumeMount::whole(name, STATE_DIR));
        data_root::warn_of_sharing(builder, &volume, &source);
    }
    kept
}

fn mount_slots<'a>(
    builder: &mut Builder<'_, 'a>,
    slots: &NodeSlots,
    mounts: &mut Vec<VolumeMount<'a>>,
) -> Option<KeptRoot> {
    let source = start::slots_source(builder, slots)?;
    let volume = builder.new_volume(SLOTS_VOLUME, &source);
    mounts.push(VolumeMount::whole(volume, start::SLOTS_DIR));
    Some(KeptRoot::Slots(start::as_option(slots)))
}

fn mount_claim<'a>(
    builder: &mut Builder<'_, 'a>,
    mounts: &mut Vec<VolumeMount<'a>>,
) -> Option<KeptRoot> {
    let source = leased_claim::source(builder)?;
    let volume = builder.new_volume(CLAIM_VOLUME, &source);
    mounts.push(VolumeMount::whole(volume, CLAIM_DIR));
    Some(KeptRoot::Claim)
}

/// Shares the directory in which buildx keeps its builders with the clients, and names the builder that the start
/// wrapper writes there. Returns buildkitd's own mount of it; `None` where all clients have a directory or a builder.
fn share_buildx<'a>(builder: &mut Builder<'_, 'a>) -> Option<VolumeMount<'a>> {
    let source = VolumeSource::empty_dir();
    let plan = builder.plan;
    let mut volume = None;
    for at in &plan.clients {
        let client = builder.container(*at);
        let own = BUILDX_VARIABLES
            .iter()
            .find(|(name, _)| client.is_some_and(|client| client.env_var(name).is_some()));
        if let Some((name, _)) = own {
            builder.note(Reason::PodSets(Setting::Variable((*name).to_owned())));
            continue;
        }
        volume.get_or_insert_with(|| builder.new_volume(BUILDX_VOLUME, &source));
        if builder.mount(*at, BUILDX_DIR, BUILDX_VOLUME, &source) {
            for (name, value) in BUILDX_VARIABLES {
                builder.set_env(*at, name, value);
            }
        }
    }
    Some(VolumeMount::whole(volume?, BUILDX_DIR))
}

/// Returns the mount of buildkitd.toml with the mirrors, and the limits of a kept state.
fn buildkitd_toml<'a>(
    builder: &mut Builder<'_, 'a>,
    kept: Option<KeptRoot>,
) -> Option<VolumeMount<'a>> {
    let budget = kept.and_then(|kept| match kept {
        KeptRoot::Slots(slots) => slots.budget_mb,
        KeptRoot::Claim => None,
    });
    let limits = budget.map(buildkitd_config::garbage_collection);
    let toml = limits.unwrap_or_default() + &buildkitd_config::registries(builder);
    if toml.is_empty() {
        return None;
    }
    let volume = builder.file_volume(
        BUILDKITD_TOML,
        BUILDKITD_TOML_VOLUME,
        "buildkitd.toml",
        toml,
    )?;
    let path = "/etc/buildkit/buildkitd.toml";
    Some(VolumeMount::file(volume, path, "buildkitd.toml"))
}
