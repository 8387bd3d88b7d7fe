//! The start wrapper: a shell script that runs as the container's `command` and then execs dockerd,
//! for what is known on the node only: which data-root is free, and the MTU of the pod's interface.

use super::{builder::Builder, settings, target::Target};
use crate::{
    dockerd::{MtuScope, Setting, Slots, StartOptions, StartScript, StartWrapper},
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

/// Wraps the command of a dockerd that the pod brings, if a feature needs it. A slot replaces the
/// default data-root, so it `fits` only where the volume there is Slipway's.
pub(super) fn wrap(builder: &mut Builder<'_, '_>, target: &Target<'_>, slot_fits: bool) {
    let Some((at, container)) = target.container else {
        return;
    };
    if target.line.is_wrapped() {
        return;
    }
    let options = options(builder, target, slot_fits, |builder, source| {
        builder.mount(at, SLOTS_DIR, SLOTS_VOLUME, source)
    });
    let own = container.command.iter().flatten().map(Str::as_str);
    if let Some(command) = wrapper(options, own) {
        builder.set_command(at, command);
    }
}

/// Returns the wrapper in front of a container's `own` command; `None` where there is nothing to do.
pub(super) fn wrapper<'c>(
    options: StartOptions,
    own: impl IntoIterator<Item = &'c str>,
) -> Option<StartWrapper<'static>> {
    let script = StartScript::for_options(options);
    (!options.is_empty()).then(|| StartWrapper::new(script, options, own))
}

/// Decides what the wrapper does for this dockerd. `mount_slots` mounts the directory of the slots
/// and returns whether it could.
pub(super) fn options<'a>(
    builder: &mut Builder<'_, 'a>,
    target: &Target<'_>,
    slot_fits: bool,
    mount_slots: impl FnOnce(&mut Builder<'_, 'a>, &VolumeSource<'a>) -> bool,
) -> StartOptions {
    let dind = &builder.plan.profile.dind;
    let mut options = StartOptions::default();
    if dind.mtu == Some(Mtu::Auto)
        && !pod_sets(builder, target, Setting::Mtu)
        && admits(builder, target, Setting::AutoMtu)
    {
        options.mtu = Some(mtu_scope(builder, target));
    }
    if let Some(slots) = dind.cache.node_slots()
        && slot_fits
        && admits(builder, target, Setting::NodeSlots)
        && let Some(source) = slots_source(builder, slots)
        && mount_slots(builder, &source)
    {
        let budget = slots.budget.as_ref();
        options.slots = Some(Slots {
            count: slots.slots,
            budget_mb: budget
                .and_then(|budget| u64::try_from(budget.nano() / NANO / BYTES_PER_MB).ok()),
        });
    }
    options.containerd_first = dind.start_containerd
        && !pod_sets(builder, target, Setting::Containerd)
        && !pod_sets(builder, target, Setting::DataRoot)
        && admits(builder, target, Setting::StartContainerd);
    options
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
fn slots_source<'a>(builder: &mut Builder<'_, 'a>, slots: &NodeSlots) -> Option<VolumeSource<'a>> {
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

/// Returns whether the wrapper can run before this dockerd, with a note where it cannot.
fn admits(builder: &mut Builder<'_, '_>, target: &Target<'_>, feature: Setting) -> bool {
    let obstacle = target.obstacle_to_wrapper();
    if let Some(obstacle) = obstacle {
        builder.note(obstacle(feature.into()));
    }
    obstacle.is_none()
}
