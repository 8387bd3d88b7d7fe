//! A dockerd that is added to a pod without one.

use std::borrow::Cow;

use super::{
    DAEMON_JSON, DAEMON_JSON_VOLUME,
    builder::Builder,
    data_root::{self, DataRoot},
    leased_claim, resources, settings, start,
    target::{CONFIG_DIR, Target},
};
use crate::{
    dockerd::StartWrapper,
    patch::{EnvVar, NewContainer, Probe, SecurityContext, VolumeMount, VolumeSource, Words},
    pod::{Container, is_within},
    policy::values::ImageRef,
    reason::Reason,
};

const DOCKERD: &str = "slipway-dind";
const STOCK_IMAGE: &str = "docker:dind";
/// The directory of dockerd's socket, in both containers.
const DOCKER_RUN: &str = "/opt/slipway/docker";
/// The group of an added daemon's socket: no image has a user in it, so the pod gets it.
pub(super) const SOCKET_GROUP: i64 = 2375;
/// Where the image of dockerd has files of its own, which a shared volume would hide.
const IMAGE_DIRS: [&str; 11] = [
    "/bin", "/certs", "/dev", "/etc", "/lib", "/opt", "/run", "/sbin", "/sys", "/usr", "/var",
];

/// Adds a privileged dockerd to a runner pod that has none.
pub(super) fn add_dockerd(builder: &mut Builder<'_, '_>) {
    if builder.has_container(DOCKERD) {
        return;
    }
    let dind = &builder.plan.profile.dind;
    let image = dind.image.as_ref().map_or(STOCK_IMAGE, ImageRef::as_str);
    let socket = format!("unix://{DOCKER_RUN}/docker.sock");
    let run = share_socket(
        builder,
        "slipway-docker-run",
        DOCKER_RUN,
        "DOCKER_HOST",
        &socket,
    );
    builder.supplemental_group(SOCKET_GROUP);

    let mut mounts = shared_mounts(builder);
    if mounts.is_empty() {
        builder.note(Reason::NothingToShare);
    }
    mounts.push(run);
    let (root, mount) = data_root(builder);
    mounts.extend(mount);

    let target = Target::added(image);
    let options = start::options(builder, &target, root, |builder, source| {
        let volume = builder.new_volume(start::SLOTS_VOLUME, source);
        mounts.push(VolumeMount::whole(volume, start::SLOTS_DIR));
        true
    });
    let command = start::wrapper(options, []);
    let command = command.as_ref().map(StartWrapper::words);

    let delivery = settings::deliver(builder, &target);
    let mut args = vec![
        "dockerd".to_owned(),
        format!("--host={socket}"),
        format!("--group={SOCKET_GROUP}"),
    ];
    args.extend(delivery.arguments());
    mounts.extend(daemon_json(builder, delivery));

    let env = dind.env.iter().map(|(name, value)| EnvVar {
        name: name.into(),
        value: value.into(),
    });
    let container = NewContainer {
        name: DOCKERD,
        image: image.into(),
        command: Words(command.unwrap_or_default()),
        args: args.into_iter().map(Cow::Owned).collect(),
        env: env.collect(),
        resources: resources::of_added(builder, &dind.resources),
        security_context: SecurityContext::PRIVILEGED,
        startup_probe: Some(Probe::exec(["docker", "--host", &socket, "info"])),
        volume_mounts: mounts,
        ..NewContainer::default()
    };
    add(builder, container);
}

/// Shares the directory of an added daemon's socket with the clients, and tells them its address.
/// Returns the daemon's own mount of it.
pub(super) fn share_socket<'a>(
    builder: &mut Builder<'_, 'a>,
    volume: &'static str,
    dir: &'static str,
    variable: &'static str,
    address: &str,
) -> VolumeMount<'a> {
    let source = VolumeSource::empty_dir();
    let name = builder.new_volume(volume, &source);
    let plan = builder.plan;
    for client in &plan.clients {
        builder.mount(*client, dir, volume, &source);
        builder.env(*client, variable, address.to_owned());
    }
    VolumeMount::whole(name, dir)
}

/// Returns what is on the data-root, and its mount, if the profile has a volume there.
fn data_root<'a>(builder: &mut Builder<'_, 'a>) -> (DataRoot, Option<VolumeMount<'a>>) {
    let cache = builder.plan.profile.dind.cache.volume();
    let leased = leased_claim::source(builder);
    let Some(source) = leased.or_else(|| data_root::source(builder, &cache)) else {
        return (DataRoot::Temporary, None);
    };
    let volume = builder.new_volume(data_root::VOLUME, &source);
    data_root::warn_of_sharing(builder, &cache, &source);
    let mount = VolumeMount::whole(volume, "/var/lib/docker");
    (DataRoot::of(&source), Some(mount))
}

/// Returns the mount of daemon.json, if there is one.
fn daemon_json<'a>(
    builder: &mut Builder<'_, 'a>,
    delivery: settings::Delivery,
) -> Option<VolumeMount<'a>> {
    let content = delivery.into_file()?;
    let volume = builder.file_volume(DAEMON_JSON, DAEMON_JSON_VOLUME, "daemon.json", content)?;
    let path = format!("{CONFIG_DIR}/daemon.json");
    Some(VolumeMount::file(volume, path, "daemon.json"))
}

/// Returns mounts of the runner's own volumes, at the same paths, so that `docker run -v $PWD:…`
/// finds its files.
fn shared_mounts<'a>(builder: &Builder<'_, 'a>) -> Vec<VolumeMount<'a>> {
    let pod = builder.pod;
    let is_scratch = |name: &str| {
        pod.volumes()
            .iter()
            .any(|v| v.name == name && v.empty_dir.is_some())
    };
    let mut mounts: Vec<VolumeMount<'a>> = Vec::new();
    let clients = builder
        .plan
        .clients
        .iter()
        .filter_map(|c| pod.container(*c));
    for mount in clients.flat_map(Container::mounts) {
        let of_image = IMAGE_DIRS
            .iter()
            .any(|path| is_within(&mount.mount_path, path) || is_within(path, &mount.mount_path));
        let known = mounts.iter().any(|known| *known.path == *mount.mount_path);
        let whole = mount.sub_path.is_none() && mount.sub_path_expr.is_none();
        if is_scratch(&mount.name) && !of_image && !known && whole {
            let (name, path) = (mount.name.to_cow(), mount.mount_path.to_cow());
            mounts.push(VolumeMount::whole(name, path));
        }
    }
    mounts
}

/// Adds a sidecar, which starts before the runner where the cluster has native sidecars.
pub(super) fn add<'a>(builder: &mut Builder<'_, 'a>, container: NewContainer<'a>) {
    let init = builder.plan.native_sidecars;
    builder.add_container(NewContainer {
        init,
        restart_policy: init.then_some("Always"),
        ..container
    });
}
