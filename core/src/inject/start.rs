//! The start wrapper: a shell script that runs as the container's `command` and then execs dockerd,
//! for what is known on the node only: which data-root is free, and the MTU of the pod's interface.

use std::borrow::Cow;

use super::{
    builder::Builder,
    buildkitd_config,
    data_root::{self, DataRoot},
    settings,
    target::Target,
};
use crate::{
    dockerd::{KeptRoot, MtuScope, Setting, Slots, StartOptions, StartScript, StartWrapper},
    k8s::quantity::Quantity,
    patch::VolumeSource,
    pod::Str,
    policy::{NodeSlots, values::Mtu},
    reason::Reason,
};

/// Where the slots of a pod are mounted in the dockerd container.
pub(super) const SLOTS_DIR: &str = "/opt/slipway/slots";
pub(super) const SLOTS_VOLUME: &str = "slipway-docker-slots";
const BYTES_PER_MB: i128 = 1_000_000;
const NANO: i128 = 1_000_000_000;

/// Wraps the command of a dockerd that the pod brings, if a feature needs it.
pub(super) fn wrap(builder: &mut Builder<'_, '_>, target: &Target<'_>, root: DataRoot) {
    let Some((at, container)) = target.container else {
        return;
    };
    if target.line.is_wrapped() {
        return;
    }
    let options = options(builder, target, root, |builder, source| {
        builder.mount(at, SLOTS_DIR, SLOTS_VOLUME, source)
    });
    let own = container.command.iter().flatten().map(Str::as_str);
    if let Some(command) = wrapper(options, own) {
        builder.set_command(at, command);
    }
}

/// Returns the wrapper in front of a container's `own` command; `None` where there is nothing to do.
pub(super) fn wrapper<'c>(
    options: StartOptions<'static>,
    own: impl IntoIterator<Item = &'c str>,
) -> Option<StartWrapper<'static>> {
    let script = StartScript::for_options(&options);
    (!options.is_empty()).then(|| StartWrapper::new(script, options, own))
}

/// Decides what the wrapper does for this dockerd. `mount_slots` mounts the directory of the slots
/// and returns whether it could.
pub(super) fn options<'a>(
    builder: &mut Builder<'_, 'a>,
    target: &Target<'_>,
    root: DataRoot,
    mount_slots: impl FnOnce(&mut Builder<'_, 'a>, &VolumeSource<'a>) -> bool,
) -> StartOptions<'static> {
    let dind = &builder.plan.profile.dind;
    let mut options = StartOptions::default();
    if dind.mtu == Some(Mtu::Auto)
        && !pod_sets(builder, target, Setting::Mtu)
        && admits(builder, target, Setting::AutoMtu)
    {
        options.mtu = Some(mtu_scope(builder, target));
    }
    options.kept_root = match root {
        DataRoot::Temporary => slots(builder, target, mount_slots).map(KeptRoot::Slots),
        DataRoot::Claim => {
            admits_kept_root(builder, target, Setting::KeptClaim).then_some(KeptRoot::Claim)
        }
        DataRoot::OfThePod => None,
    };
    if root == DataRoot::Temporary && options.kept_root.is_none() {
        data_root::warn_of_eviction(builder);
    }
    options.containerd_first = dind.start_containerd
        && !pod_sets(builder, target, Setting::Containerd)
        && !pod_sets(builder, target, Setting::DataRoot)
        && admits(builder, target, Setting::StartContainerd);
    options.builders = builders(builder, target, options.kept_root.is_some());
    options
}

/// Returns the slots for this dockerd, if it can have one.
fn slots<'a>(
    builder: &mut Builder<'_, 'a>,
    target: &Target<'_>,
    mount: impl FnOnce(&mut Builder<'_, 'a>, &VolumeSource<'a>) -> bool,
) -> Option<Slots> {
    let slots = builder.plan.profile.dind.cache.node_slots()?;
    if !admits_kept_root(builder, target, Setting::NodeSlots) {
        return None;
    }
    let source = slots_source(builder, slots)?;
    mount(builder, &source).then(|| as_option(slots))
}

/// Returns the slots as the wrapper's option has them.
pub(super) fn as_option(slots: &NodeSlots) -> Slots {
    let budget = slots.budget.as_ref();
    let megabytes = |budget: &Quantity| u64::try_from(budget.nano() / NANO / BYTES_PER_MB).ok();
    Slots {
        count: slots.slots,
        budget_mb: budget.and_then(megabytes),
    }
}

/// Returns the configuration for the builders that jobs create; `None` leaves them alone.
fn builders(
    builder: &mut Builder<'_, '_>,
    target: &Target<'_>,
    is_kept: bool,
) -> Option<Cow<'static, str>> {
    buildkitd_config::note_mirrors_for_builders(builder);
    if !builder.plan.profile.dind.keep_builders {
        return None;
    }
    let config = buildkitd_config::registries(builder);
    let is_needed = is_kept || !config.is_empty();
    (is_needed && admits(builder, target, Setting::KeepBuilders)).then(|| config.into())
}

/// Returns which networks get the MTU: those of jobs too, where dockerd knows the flag and the pod
/// does not set it.
fn mtu_scope(builder: &mut Builder<'_, '_>, target: &Target<'_>) -> MtuScope {
    if target.line.sets("default-network-opt") {
        MtuScope::Bridge
    } else if settings::knows_network_mtu(target.image) {
        MtuScope::AllNetworks
    } else {
        builder.note(Reason::DockerTooOld(Setting::NetworkMtu));
        MtuScope::Bridge
    }
}

/// Returns the directory of the node that holds this pod's slots, and no other pod's.
pub(super) fn slots_source<'a>(
    builder: &mut Builder<'_, 'a>,
    slots: &NodeSlots,
) -> Option<VolumeSource<'a>> {
    let plan = builder.plan;
    let Some(directory) = plan.host_directory() else {
        builder.note(Reason::NoHostPath(Setting::NodeSlots));
        return None;
    };
    let key = plan.cache_key.as_ref()?;
    let root = slots.root.as_str().trim_end_matches('/');
    let path = format!("{root}/{directory}/{key}");
    Some(VolumeSource::host_directory(path))
}

/// Returns whether the pod sets the flag itself, with a note.
fn pod_sets(builder: &mut Builder<'_, '_>, target: &Target<'_>, setting: Setting) -> bool {
    let sets = setting.flag().is_some_and(|flag| target.line.sets(flag));
    if sets {
        builder.note(Reason::PodSets(setting));
    }
    sets
}

/// Returns whether this dockerd can have a data-root that outlives the pod, with a note where it cannot.
/// The wrapper then runs the containerd, so that nothing of dead jobs starts.
fn admits_kept_root(builder: &mut Builder<'_, '_>, target: &Target<'_>, feature: Setting) -> bool {
    if !target.is_privileged() {
        builder.note(Reason::NotPrivileged(feature));
        return false;
    }
    !pod_sets(builder, target, Setting::Containerd) && admits(builder, target, feature)
}

/// Returns whether the wrapper can run before this dockerd, with a note where it cannot.
fn admits(builder: &mut Builder<'_, '_>, target: &Target<'_>, feature: Setting) -> bool {
    let obstacle = target.obstacle_to_wrapper();
    if let Some(obstacle) = obstacle {
        builder.note(obstacle(feature.into()));
    }
    obstacle.is_none()
}
