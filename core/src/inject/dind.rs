//! A dockerd that the pod brings, optimised in place.

use std::borrow::Cow;

use super::{
    DAEMON_JSON, DAEMON_JSON_VOLUME,
    builder::Builder,
    data_root::{self, DataRoot},
    resources,
    settings::{self, Delivery},
    start, startup_probe,
    target::{CONFIG_DIR, Target},
};
use crate::{
    decide::Strategy,
    dockerd::{CommandLine, Image, Setting, remove_flags},
    pod::{Container, ContainerRef, Str},
    policy::values::{ImageRef, Mtu},
    reason::Reason,
};

/// dockerd's data-root where nothing sets another one.
const DATA_ROOT: &str = "/var/lib/docker";
const WAIT_IN_SECONDS: &str = "RUNNER_WAIT_FOR_DOCKER_IN_SECONDS";
/// The variable that makes each generation of ARC's runner wait until docker answers, and the
/// seconds for which its image waits without it.
const WAIT_VARIABLES: [(&str, &str, u32); 2] = [
    ("arc-scale-set", WAIT_IN_SECONDS, 0),
    ("arc-legacy", "WAIT_FOR_DOCKER_SECONDS", 120),
];

/// Optimises a dockerd in a container of its own.
pub(super) fn sidecar(builder: &mut Builder<'_, '_>, at: ContainerRef) {
    let Some(container) = builder.container(at) else {
        return;
    };
    let image = replace_image(builder, at, container);
    let target = Target::of(builder, at, container, image);
    let delivery = settings::deliver(builder, &target);
    add_arguments(builder, at, container, &delivery);
    deliver_file(builder, at, delivery);
    for (name, value) in &builder.plan.profile.dind.env {
        builder.env(at, name, value);
    }
    resources::dockerd(builder, at);
    startup_probe::inject(builder, at, container);
    let root = sidecar_data_root(builder, at, &target);
    start::wrap(builder, &target, root);
}

/// Mounts the volume on the sidecar's data-root. A data-root at another path is the pod's: what is kept
/// has the usual one.
fn sidecar_data_root(
    builder: &mut Builder<'_, '_>,
    at: ContainerRef,
    target: &Target<'_>,
) -> DataRoot {
    if target.image.is_rootless() {
        builder.note(Reason::Rootless(Setting::CacheVolume.into()));
        return DataRoot::OfThePod;
    }
    let Some(path) = data_root_path(&target.line) else {
        builder.note(Reason::PodSets(Setting::DataRoot));
        return DataRoot::OfThePod;
    };
    let root = data_root::inject(builder, at, path);
    if !target.line.sets("data-root") {
        return root;
    }
    if builder.plan.profile.dind.cache.node_slots().is_some() {
        builder.note(Reason::PodSets(Setting::DataRoot));
    }
    DataRoot::OfThePod
}

/// Optimises a dockerd inside the runner container. ARC's entrypoint reads variables and writes
/// daemon.json itself, with `mv`, which a mounted file would break.
pub(super) fn in_runner(builder: &mut Builder<'_, '_>, at: ContainerRef) {
    let Some(container) = builder.container(at) else {
        return;
    };
    if container.env_value("DOCKERD_IN_RUNNER") == Some("true") {
        runner_variables(builder, at);
    } else {
        builder.note(Reason::ImageNotStock(Setting::All.into()));
    }
    note_sidecar_settings(builder);
    if Image::parse(container.image.as_deref().unwrap_or_default()).is_rootless() {
        builder.note(Reason::Rootless(Setting::CacheVolume.into()));
    } else {
        data_root::inject(builder, at, DATA_ROOT);
    }
}

/// Notes the settings of the profile that reach only a dockerd in a container of its own.
fn note_sidecar_settings(builder: &mut Builder<'_, '_>) {
    let profile = builder.plan.profile;
    let dind = &profile.dind;
    let resources = &dind.resources;
    for (is_set, setting) in [
        (
            !resources.requests.is_empty() || !resources.limits.is_empty(),
            Setting::Resources,
        ),
        (dind.image.is_some(), Setting::Image),
        (dind.start_containerd, Setting::StartContainerd),
        (!dind.log_opts.is_empty(), Setting::LogOpts),
        (dind.storage_driver.is_some(), Setting::StorageDriver),
        (!dind.env.is_empty(), Setting::Env),
        (dind.mtu == Some(Mtu::Auto), Setting::AutoMtu),
        (dind.cache.node_slots().is_some(), Setting::NodeSlots),
        (dind.keep_builders, Setting::KeepBuilders),
        (
            dind.mirrors.values().any(|mirrors| !mirrors.is_empty()),
            Setting::Mirrors,
        ),
        (settings::needs_file(profile), Setting::DaemonJson),
    ] {
        if is_set {
            builder.note(Reason::SidecarOnly(setting));
        }
    }
}

/// Sets the variables that ARC's entrypoint reads.
fn runner_variables(builder: &mut Builder<'_, '_>, at: ContainerRef) {
    let dind = &builder.plan.profile.dind;
    if let Some(Mtu::Bytes(mtu)) = dind.mtu {
        builder.env(at, "MTU", mtu.to_string());
    }
    settings::note_dead_mirrors(builder);
    let mirrors = settings::live_mirrors(dind, builder.plan.dead_mirrors);
    if let Some(first) = mirrors.first() {
        builder.env(at, "DOCKER_REGISTRY_MIRROR", first.as_str());
        if first.is_plain_http() {
            builder.env(at, "DOCKER_INSECURE_REGISTRY", first.host());
        }
    }
    if mirrors.len() > 1 {
        builder.note(Reason::OneMirrorOnly);
    }
}

/// Removes a dockerd sidecar that a host socket replaces; nothing may wait for it.
pub(super) fn remove(builder: &mut Builder<'_, '_>, at: ContainerRef) {
    if builder.plan.strategy != Strategy::DockerSocket {
        for client in &builder.plan.clients {
            let Some(container) = builder.container(*client) else {
                continue;
            };
            if container.env_var(WAIT_IN_SECONDS).is_some() {
                builder.set_env(*client, WAIT_IN_SECONDS, "0");
            }
            if container.env_var("DOCKER_ENABLED").is_some() {
                builder.set_env(*client, "DOCKER_ENABLED", "false");
            }
        }
    }
    builder.remove_container(at);
}

/// Replaces a stock image by the profile's. Returns the image that runs in the end.
fn replace_image<'b, 'a>(
    builder: &mut Builder<'b, 'a>,
    at: ContainerRef,
    container: &'b Container<'a>,
) -> &'b str {
    let current = container.image.as_deref().unwrap_or_default();
    let dind = &builder.plan.profile.dind;
    let Some(image) = dind.image.as_ref().map(ImageRef::as_str) else {
        return current;
    };
    if image == current {
        return current;
    }
    if !dind.is_stock(current) && !builder.overwrites() {
        builder.note(Reason::ImageNotStock(Setting::Image.into()));
        return current;
    }
    builder.set_image(at, image);
    image
}

/// Adds arguments, and removes those that they overwrite.
fn add_arguments(
    builder: &mut Builder<'_, '_>,
    at: ContainerRef,
    container: &Container<'_>,
    delivery: &Delivery,
) {
    let add = delivery.arguments();
    if add.is_empty() {
        return;
    }
    let present: Vec<&str> = container.args.iter().flatten().map(Str::as_str).collect();
    let kept = remove_flags(&present, &delivery.flags());
    let keep = (kept.len() < present.len())
        .then(|| kept.into_iter().map(|arg| arg.to_owned().into()).collect());
    builder.set_args(at, keep, add.into_iter().map(Cow::Owned).collect());
}

/// Delivers daemon.json in an annotation, which dockerd sees as a file.
fn deliver_file(builder: &mut Builder<'_, '_>, at: ContainerRef, delivery: Delivery) {
    if let Some(content) = delivery.into_file() {
        builder.file(
            at,
            CONFIG_DIR,
            "daemon.json",
            DAEMON_JSON,
            DAEMON_JSON_VOLUME,
            content,
        );
    }
}

/// Returns dockerd's data-root; `None` where it cannot be told.
fn data_root_path<'p>(line: &CommandLine<'p>) -> Option<&'p str> {
    if !line.sets("data-root") {
        return Some(DATA_ROOT);
    }
    let root = line.values("data-root").last().copied()?;
    (root.starts_with('/') && !root.contains("$(") && !root.contains(':')).then_some(root)
}

/// Makes the runner wait until docker answers, where its image can.
pub(super) fn wait_for_docker(builder: &mut Builder<'_, '_>) {
    let plan = builder.plan;
    let seconds = plan.profile.dind.wait_seconds;
    let wait = WAIT_VARIABLES
        .iter()
        .find(|(system, _, _)| *system == plan.system);
    if let Some((_, variable, by_default)) = wait
        && *by_default != seconds
    {
        builder.default_client_env(variable, seconds.to_string());
    }
}
