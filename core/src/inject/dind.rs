//! A dockerd that the pod brings, optimised in place.

use serde_json::{Map, Value};

use super::{DAEMON_JSON, Injection, builder::Builder, cache, resources, settings, start};
use crate::{
    dockerd::{CommandLine, Image, command, split_flag},
    pod::{Container, ContainerRef, Str, is_within},
    policy::values::Mtu,
    reason::Reason,
};

/// dockerd's data-root where nothing says otherwise.
const DATA_ROOT: &str = "/var/lib/docker";
const CONFIG_DIR: &str = "/etc/docker";
/// The variable that holds back each generation of ARC's runner until docker answers, and the
/// seconds for which its image waits without it.
const WAIT_VARIABLES: [(&str, &str, u32); 2] = [
    ("arc-scale-set", "RUNNER_WAIT_FOR_DOCKER_IN_SECONDS", 0),
    ("arc-legacy", "WAIT_FOR_DOCKER_SECONDS", 120),
];

/// dockerd in a container of its own.
pub(super) fn sidecar(builder: &mut Builder<'_>, place: ContainerRef) {
    let Some(container) = builder.container(place) else {
        return;
    };
    let line = CommandLine::of(container);
    let reference = container.image.as_deref().unwrap_or_default();
    let dind = &builder.plan.profile.dind;
    let image = replace_image(builder, place, reference, dind.is_stock(reference));
    let stock = dind.is_stock(image);

    configure(builder, place, container, &line, image, stock);
    for (name, value) in &dind.env {
        builder.env(place, name, value);
    }
    resources::dockerd(builder, place);
    let root_is_ours = sidecar_data_root(builder, place, &line, image);
    let target = start::Target {
        place,
        container,
        line: &line,
        image,
        stock,
    };
    start::wrap(builder, target, root_is_ours);
}

/// The volume on the sidecar's data-root. Says whether it is Slipway's, at the usual place.
fn sidecar_data_root(
    builder: &mut Builder<'_>,
    place: ContainerRef,
    line: &CommandLine<'_>,
    image: &str,
) -> bool {
    if Image::parse(image).is_rootless() {
        builder.note(Reason::Rootless("cache volume".to_owned()));
        return false;
    }
    let Some(root) = data_root(line) else {
        builder.note(Reason::PodSets("data-root".to_owned()));
        return false;
    };
    let ours = cache::data_root(builder, place, root);
    let moved = line.sets("data-root");
    if moved && builder.plan.profile.dind.cache.node_slots().is_some() {
        builder.note(Reason::PodSets("data-root".to_owned()));
    }
    ours && !moved
}

/// dockerd inside the runner container: ARC's entrypoint reads variables and writes daemon.json
/// itself, with `mv`, so that a mounted file would break it.
pub(super) fn in_runner(builder: &mut Builder<'_>, place: ContainerRef) {
    let Some(container) = builder.container(place) else {
        return;
    };
    let profile = builder.plan.profile;
    let rootless = Image::parse(container.image.as_deref().unwrap_or_default()).is_rootless();
    if container.env_value("DOCKERD_IN_RUNNER") == Some("true") {
        runner_variables(builder, place);
    } else {
        builder.note(Reason::ImageNotStock("dockerd's settings".to_owned()));
    }
    for (set, what) in [
        (
            !profile.dind.resources.requests.is_empty()
                || !profile.dind.resources.limits.is_empty(),
            "dind.resources",
        ),
        (profile.dind.image.is_some(), "dind.image"),
        (profile.dind.start_containerd, "startContainerd"),
        (!profile.dind.log_opts.is_empty(), "dind.logOpts"),
        (profile.dind.storage_driver.is_some(), "dind.storageDriver"),
        (!profile.dind.env.is_empty(), "dind.env"),
        (profile.dind.mtu == Some(Mtu::Auto), "mtu: auto"),
        (profile.dind.cache.node_slots().is_some(), "node slots"),
        (!settings::without_flags(profile).is_empty(), "daemon.json"),
    ] {
        if set {
            builder.note(Reason::SidecarOnly(what.to_owned()));
        }
    }
    if rootless {
        builder.note(Reason::Rootless("cache volume".to_owned()));
    } else {
        cache::data_root(builder, place, DATA_ROOT);
    }
}

fn runner_variables(builder: &mut Builder<'_>, place: ContainerRef) {
    let dind = &builder.plan.profile.dind;
    if let Some(Mtu::Bytes(mtu)) = dind.mtu {
        builder.env(place, "MTU", &mtu.to_string());
    }
    note_dead_mirrors(builder);
    let mirrors = settings::live_mirrors(dind, builder.plan.dead_mirrors);
    if let Some(first) = mirrors.first() {
        builder.env(place, "DOCKER_REGISTRY_MIRROR", first.as_str());
        if first.is_plain_http() {
            builder.env(place, "DOCKER_INSECURE_REGISTRY", first.host());
        }
    }
    if mirrors.len() > 1 {
        builder.note(Reason::OneMirrorOnly);
    }
}

/// A dockerd sidecar goes, because a host socket serves in its place; nothing may wait for it.
pub(super) fn take_out(builder: &mut Builder<'_>, place: ContainerRef) {
    let served = builder.plan.strategy == crate::decide::Strategy::DockerSocket;
    if !served {
        for client in &builder.plan.clients {
            let Some(container) = builder.container(*client) else {
                continue;
            };
            if container
                .env_var("RUNNER_WAIT_FOR_DOCKER_IN_SECONDS")
                .is_some()
            {
                builder.set_env(*client, "RUNNER_WAIT_FOR_DOCKER_IN_SECONDS", "0");
            }
            if container.env_var("DOCKER_ENABLED").is_some() {
                builder.set_env(*client, "DOCKER_ENABLED", "false");
            }
        }
    }
    builder.push(Injection::RemoveContainer(place));
}

/// The profile's image for a stock one; what runs in the end.
fn replace_image<'b>(
    builder: &mut Builder<'b>,
    place: ContainerRef,
    current: &'b str,
    stock: bool,
) -> &'b str {
    let plan = builder.plan;
    match &plan.profile.dind.image {
        Some(image) if image.as_str() != current && (stock || builder.overwrites()) => {
            builder.push(Injection::Image {
                container: place,
                image: image.to_string(),
            });
            image.as_str()
        }
        Some(image) if image.as_str() != current => {
            builder.note(Reason::ImageNotStock("dind.image".to_owned()));
            current
        }
        _ => current,
    }
}

/// Flags where flags can be added; daemon.json for keys without one, and for scripts.
fn configure(
    builder: &mut Builder<'_>,
    place: ContainerRef,
    container: &Container<'_>,
    line: &CommandLine<'_>,
    image: &str,
    stock: bool,
) {
    let profile = builder.plan.profile;
    note_dead_mirrors(builder);
    let mut wanted = settings::with_flags(&profile.dind, builder.plan.dead_mirrors);
    let same_mirrors = wanted
        .iter()
        .any(|s| s.flag == "registry-mirror" && s.values == line.values(s.flag));
    wanted.retain(|setting| !is_settled(builder, container, line, setting));
    if !same_mirrors
        && !wanted
            .iter()
            .any(|setting| setting.flag == "registry-mirror")
    {
        wanted.retain(|setting| setting.flag != "insecure-registry");
    }
    if let Some(Mtu::Bytes(mtu)) = profile.dind.mtu
        && wanted.iter().any(|setting| setting.flag == "mtu")
        && !line.sets("default-network-opt")
    {
        match settings::network_mtu(mtu, Image::parse(image)) {
            Some(setting) => wanted.push(setting),
            None => builder.note(Reason::DockerTooOld(
                settings::MTU_OF_JOB_NETWORKS.to_owned(),
            )),
        }
    }
    let mut file = settings::without_flags(profile);
    file.retain(|key, _| !line.sets_key(key) && !wanted.iter().any(|s| s.key == key));

    let names = || {
        let flags = wanted.iter().map(|s| s.key.to_owned());
        flags
            .chain(file.keys().cloned())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if wanted.is_empty() && file.is_empty() {
        return;
    }
    if !stock {
        builder.note(Reason::ImageNotStock(names()));
    } else if has_own_config(builder, container, line) {
        builder.note(Reason::OwnDaemonConfig(names()));
    } else if !line.is_readable() {
        builder.note(Reason::CommandUnreadable(names()));
    } else {
        if line.can_grow() {
            add_arguments(builder, place, container, &wanted);
        } else {
            file.extend(wanted.into_iter().map(|s| (s.key.to_owned(), s.json)));
        }
        deliver_file(builder, place, line, image, file);
    }
}

fn note_dead_mirrors(builder: &mut Builder<'_>) {
    for dead in builder.plan.dead_mirrors {
        let named = |mirror: &crate::policy::values::MirrorUrl| mirror.as_str() == dead;
        if builder.plan.profile.dind.registry_mirrors.iter().any(named) {
            builder.note(Reason::MirrorDead(dead.clone()));
        }
    }
}

/// Whether the pod settles the matter itself, so that the profile's setting must stay out.
fn is_settled(
    builder: &mut Builder<'_>,
    container: &Container<'_>,
    line: &CommandLine<'_>,
    setting: &settings::Setting,
) -> bool {
    let by_other_means = match setting.flag {
        // json-file's options stop a dockerd with another default driver.
        "log-opt" => {
            let drivers = line.values("log-driver");
            line.sets("log-driver") && drivers.last() != Some(&"json-file")
        }
        "storage-driver" => container.env_var("DOCKER_DRIVER").is_some(),
        _ => false,
    };
    if by_other_means {
        builder.note(Reason::PodSets(setting.key.to_owned()));
        return true;
    }
    if !line.sets(setting.flag) {
        return false;
    }
    let same = line.values(setting.flag) == setting.values;
    if same {
        return true;
    }
    // What stands in `command` cannot be taken out by rewriting `args`.
    let in_command = command(container)
        .filter_map(split_flag)
        .any(|(name, _)| name == setting.flag);
    if builder.overwrites() && line.can_grow() && !in_command && !line.has_operands() {
        return false;
    }
    builder.note(Reason::PodSets(setting.key.to_owned()));
    true
}

/// Whether the pod brings a daemon.json, against which a flag could stand.
pub(super) fn has_own_config(
    builder: &Builder<'_>,
    container: &Container<'_>,
    line: &CommandLine<'_>,
) -> bool {
    let ours = builder.pod.metadata.annotation(DAEMON_JSON).is_some();
    let mounted = container
        .mounts()
        .iter()
        .any(|m| is_within(&m.mount_path, CONFIG_DIR) || is_within(CONFIG_DIR, &m.mount_path));
    line.sets("config-file") || (mounted && !ours)
}

/// Adds arguments; with `overwrite: all`, those that say otherwise go.
fn add_arguments(
    builder: &mut Builder<'_>,
    place: ContainerRef,
    container: &Container<'_>,
    wanted: &[settings::Setting],
) {
    let add: Vec<String> = wanted.iter().flat_map(settings::Setting::args).collect();
    if add.is_empty() {
        return;
    }
    let flags: Vec<&str> = wanted.iter().map(|setting| setting.flag).collect();
    let present: Vec<&str> = container.args.iter().flatten().map(Str::as_str).collect();
    let kept = without_flags(&present, &flags);
    builder.push(Injection::Args {
        container: place,
        keep: (kept.len() < present.len()).then(|| kept.into_iter().map(str::to_owned).collect()),
        add,
    });
}

/// The arguments without these flags and their values.
fn without_flags<'p>(args: &[&'p str], flags: &[&str]) -> Vec<&'p str> {
    let mut kept = Vec::with_capacity(args.len());
    let mut rest = args.iter().peekable();
    while let Some(word) = rest.next() {
        match split_flag(word) {
            Some((name, value)) if flags.contains(&name) => {
                if value.is_none() {
                    rest.next_if(|next| !next.starts_with('-'));
                }
            }
            _ => kept.push(*word),
        }
    }
    kept
}

/// daemon.json in an annotation, shown to dockerd as a file.
fn deliver_file(
    builder: &mut Builder<'_>,
    place: ContainerRef,
    line: &CommandLine<'_>,
    image: &str,
    mut file: Map<String, Value>,
) {
    file.retain(|key, _| !line.sets_key(key));
    if file.is_empty() {
        return;
    }
    if Image::parse(image).is_rootless() {
        builder.note(Reason::Rootless("daemon.json".to_owned()));
        return;
    }
    let content = Value::Object(file).to_string();
    builder.file(
        place,
        CONFIG_DIR,
        "daemon.json",
        DAEMON_JSON,
        "slipway-daemon-json",
        content,
    );
}

/// dockerd's data-root; `None` when it is not known.
fn data_root<'p>(line: &CommandLine<'p>) -> Option<&'p str> {
    if !line.sets("data-root") {
        return Some(DATA_ROOT);
    }
    let root = line.values("data-root").last().copied()?;
    (root.starts_with('/') && !root.contains("$(") && !root.contains(':')).then_some(root)
}

/// The runner waits until docker answers, where its image knows how.
pub(super) fn wait_for_docker(builder: &mut Builder<'_>) {
    let plan = builder.plan;
    let seconds = plan.profile.dind.wait_seconds;
    let wait = WAIT_VARIABLES
        .iter()
        .find(|(system, _, _)| *system == plan.system);
    if let Some((_, variable, by_default)) = wait
        && *by_default != seconds
    {
        builder.default_client_env(variable, &seconds.to_string());
    }
}
