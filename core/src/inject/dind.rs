//! A dockerd that the pod brings, optimised in place.

use std::borrow::Cow;

use super::{
    DAEMON_JSON, DAEMON_JSON_VOLUME,
    builder::Builder,
    data_root::{self, DataRoot},
    resources,
    settings::{self, Delivery},
    start, startup_probe,
    target::{CONFIG_DIR, Target, brings_config},
};
use crate::{
    decide::{DockerdPlan, Strategy},
    dockerd::{CommandLine, Image, Setting, Settings, remove_flags, starts_with_runner},
    pod::{Container, ContainerRef, Str},
    policy::values::{ImageRef, Mtu},
    reason::Reason,
    recognise::DockerHost,
};

/// dockerd's data-root where nothing sets another one.
const DATA_ROOT: &str = "/var/lib/docker";
/// The variables by which a client speaks TLS to a dockerd.
const TLS_VARIABLES: [&str; 3] = ["DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_TLS"];
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
    if starts_with_runner(container) {
        runner_variables(builder, at, container);
    } else {
        builder.note(Reason::ImageNotStock(Setting::All.into()));
    }
    note_sidecar_settings(builder);
    if Image::parse(container.image.as_deref().unwrap_or_default()).is_rootless() {
        builder.note(Reason::Rootless(Setting::CacheVolume.into()));
    } else if data_root::inject(builder, at, DATA_ROOT) == DataRoot::Temporary {
        data_root::warn_of_eviction(builder);
    }
    resources::note_cpu_limit(builder, container);
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
fn runner_variables(builder: &mut Builder<'_, '_>, at: ContainerRef, container: &Container<'_>) {
    let dind = &builder.plan.profile.dind;
    if brings_config(builder, container) {
        let mtu = matches!(dind.mtu, Some(Mtu::Bytes(_))).then_some(Setting::Mtu);
        let mirrors = (!dind.registry_mirrors.is_empty()).then_some(Setting::RegistryMirrors);
        let left_out: Vec<Setting> = mirrors.into_iter().chain(mtu).collect();
        if !left_out.is_empty() {
            builder.note(Reason::OwnDaemonConfig(Settings(left_out)));
        }
        return;
    }
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

/// Removes a dockerd sidecar that a host socket replaces; nothing may wait for it or look for it.
pub(super) fn remove(builder: &mut Builder<'_, '_>, at: ContainerRef) {
    for client in &builder.plan.clients {
        for variable in TLS_VARIABLES {
            clear_env(builder, *client, variable);
        }
    }
    if builder.plan.strategy != Strategy::DockerSocket {
        for client in &builder.plan.clients {
            let Some(container) = builder.container(*client) else {
                continue;
            };
            if DockerHost::of(container, builder.pod) == DockerHost::Pod {
                clear_env(builder, *client, "DOCKER_HOST");
            }
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

/// Empties a variable that the container has: the docker client takes an empty one as none.
fn clear_env(builder: &mut Builder<'_, '_>, at: ContainerRef, name: &'static str) {
    let container = builder.container(at);
    if container.is_some_and(|container| container.env_var(name).is_some()) {
        builder.set_env(at, name, "");
    }
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

/// Returns whether a dockerd starts with the pod, so that the runner can wait for it. One that a job starts never
/// answers before.
pub(super) fn starts_before_the_runner(builder: &Builder<'_, '_>) -> bool {
    match builder.plan.dockerd {
        DockerdPlan::Sidecar(_) | DockerdPlan::Add => true,
        DockerdPlan::InRunner(at) => builder.container(at).is_some_and(starts_with_runner),
        DockerdPlan::Absent | DockerdPlan::Hidden | DockerdPlan::Remove(_) => false,
    }
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
