//! Sidecars that Slipway adds: dockerd where a pod has none, and buildkitd beside containerd.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{
    Injection,
    builder::Builder,
    cache, pool, resources, settings,
    start::{self, Start},
};
use crate::{
    dockerd::Image,
    pod::{Container, is_within},
    policy::{Buildkitd, Cache, Dind, values::Mtu},
    reason::Reason,
};

const DOCKERD: &str = "slipway-dind";
const BUILDKITD: &str = "slipway-buildkitd";
const STOCK_IMAGE: &str = "docker:dind";
/// The directory of dockerd's socket, in both containers.
const DOCKER_RUN: &str = "/opt/slipway/docker";
const BUILDKIT_RUN: &str = "/opt/slipway/buildkit";
/// The group of an added daemon's socket: no image's user is in it, so the pod gets it.
const SOCKET_GROUP: i64 = 2375;
/// Where the image of dockerd has files of its own, which a shared volume would hide.
const IMAGE_DIRS: [&str; 11] = [
    "/bin", "/certs", "/dev", "/etc", "/lib", "/opt", "/run", "/sbin", "/sys", "/usr", "/var",
];
/// Annotation that delivers buildkitd.toml with the pod.
const BUILDKITD_TOML: &str = "slipway.io/buildkitd.toml";
const BUILDKITD_TOML_VOLUME: &str = "slipway-buildkitd-toml";

/// A privileged dockerd for a runner pod that has none.
pub(super) fn add_dockerd(builder: &mut Builder<'_>) {
    if builder.has_container(DOCKERD) {
        return;
    }
    let plan = builder.plan;
    let dind = &plan.profile.dind;
    let image = dind
        .image
        .as_ref()
        .map_or(STOCK_IMAGE, |image| image.as_str());
    let socket = format!("unix://{DOCKER_RUN}/docker.sock");

    let run = builder.new_volume("slipway-docker-run", &json!({"emptyDir": {}}));
    for client in &plan.clients {
        builder.mount(
            *client,
            DOCKER_RUN,
            "slipway-docker-run",
            &json!({"emptyDir": {}}),
        );
        builder.env(*client, "DOCKER_HOST", &socket);
    }
    builder.supplemental_group(SOCKET_GROUP);

    let mut mounts = shared_mounts(builder);
    if mounts.is_empty() {
        builder.note(Reason::NothingToShare);
    }
    mounts.push(json!({"name": run, "mountPath": DOCKER_RUN}));
    let cache = dind.cache.volume();
    if let Some(source) = pool::claim(builder).or_else(|| cache::source(builder, &cache)) {
        let volume = builder.new_volume("slipway-docker-cache", &source);
        mounts.push(json!({"name": volume, "mountPath": "/var/lib/docker"}));
        cache::warn_of_sharing(builder, &cache);
    }
    let command = start_wrapper(builder, image, &mut mounts);
    let mut wanted = settings::with_flags(dind, plan.dead_mirrors);
    wanted.extend(fixed_mtu(dind).and_then(|mtu| settings::network_mtu(mtu, Image::parse(image))));
    if let Some(mount) = daemon_json(builder, &wanted) {
        mounts.push(mount);
    }
    let mut args = vec![
        "dockerd".to_owned(),
        format!("--host={socket}"),
        format!("--group={SOCKET_GROUP}"),
    ];
    args.extend(wanted.iter().flat_map(settings::Setting::args));
    let env: Vec<Value> = dind
        .env
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let container = json!({
        "name": DOCKERD,
        "image": image,
        "command": command,
        "args": args,
        "env": env,
        "resources": resources::of_added(builder, &dind.resources),
        "securityContext": {"privileged": true, "runAsUser": 0, "runAsNonRoot": false},
        "startupProbe": probe(&["docker", "--host", &socket, "info"]),
        "volumeMounts": mounts,
    });
    add(builder, container);
}

/// The start wrapper before the added dockerd, if a feature needs it; its slots are mounted.
fn start_wrapper(
    builder: &mut Builder<'_>,
    image: &str,
    mounts: &mut Vec<Value>,
) -> Vec<Cow<'static, str>> {
    let dind = &builder.plan.profile.dind;
    let image = Image::parse(image);
    let admits = |builder: &mut Builder<'_>, what: &str| {
        if image.is_rootless() {
            builder.note(Reason::Rootless(what.to_owned()));
        }
        !image.is_rootless()
    };
    let mut start = Start::default();
    if dind.mtu == Some(Mtu::Auto) && admits(builder, "mtu: auto") {
        start.mtu(settings::knows_network_mtu(image));
    }
    if let Some(slots) = dind.cache.node_slots()
        && admits(builder, "node slots")
        && let Some(source) = start::slots_source(builder, slots)
    {
        let volume = builder.new_volume(start::SLOTS_VOLUME, &source);
        mounts.push(json!({"name": volume, "mountPath": start::SLOTS_DIR}));
        start.slots(slots);
    }
    if dind.start_containerd && admits(builder, "startContainerd") {
        start.containerd();
    }
    start.command([]).unwrap_or_default()
}

/// The MTU that the profile names.
fn fixed_mtu(dind: &Dind) -> Option<u16> {
    match dind.mtu? {
        Mtu::Bytes(bytes) => Some(bytes),
        Mtu::Auto => None,
    }
}

/// daemon.json for keys without a flag, as a mount of the added container.
fn daemon_json(builder: &mut Builder<'_>, flags: &[settings::Setting]) -> Option<Value> {
    let mut file = settings::without_flags(builder.plan.profile);
    file.retain(|key, _| !flags.iter().any(|flag| flag.key == key));
    if file.is_empty() {
        return None;
    }
    let content = Value::Object(file).to_string();
    let volume = builder.file_volume(
        super::DAEMON_JSON,
        "slipway-daemon-json",
        "daemon.json",
        content,
    )?;
    Some(json!({
        "name": volume, "mountPath": "/etc/docker/daemon.json", "subPath": "daemon.json", "readOnly": true
    }))
}

/// The runner's own volumes, at the same paths, so that `docker run -v $PWD:…` finds its files.
fn shared_mounts(builder: &Builder<'_>) -> Vec<Value> {
    let pod = builder.pod;
    let is_scratch = |name: &str| {
        pod.volumes()
            .iter()
            .any(|v| v.name == name && v.empty_dir.is_some())
    };
    let mut mounts: Vec<Value> = Vec::new();
    let clients = builder
        .plan
        .clients
        .iter()
        .filter_map(|c| pod.container(*c));
    for mount in clients.flat_map(Container::mounts) {
        let of_image = IMAGE_DIRS
            .iter()
            .any(|path| is_within(&mount.mount_path, path) || is_within(path, &mount.mount_path));
        let known = mounts
            .iter()
            .any(|m| m.get("mountPath").and_then(Value::as_str) == Some(&mount.mount_path));
        let whole = mount.sub_path.is_none() && mount.sub_path_expr.is_none();
        if is_scratch(&mount.name) && !of_image && !known && whole {
            mounts.push(json!({"name": &*mount.name, "mountPath": &*mount.mount_path}));
        }
    }
    mounts
}

/// buildkitd with its OCI worker and a cache of its own: it needs nothing of the node's runtime.
pub(super) fn add_buildkitd(builder: &mut Builder<'_>, settings: &Buildkitd) {
    if builder.has_container(BUILDKITD) {
        return;
    }
    let plan = builder.plan;
    if builder.pod.spec.resources.is_none()
        && let Some(resource) = settings
            .resources
            .missing_for_quota(plan.quotas, plan.limits)
    {
        builder.note(Reason::QuotaDemands {
            container: "buildkitd",
            resource: resource.to_owned(),
        });
        return;
    }
    let address = format!("unix://{BUILDKIT_RUN}/buildkitd.sock");
    let run = builder.new_volume("slipway-buildkit-run", &json!({"emptyDir": {}}));
    for client in &plan.clients {
        builder.mount(
            *client,
            BUILDKIT_RUN,
            "slipway-buildkit-run",
            &json!({"emptyDir": {}}),
        );
        builder.env(*client, "BUILDKIT_HOST", &address);
    }
    let mut mounts = vec![json!({"name": run, "mountPath": BUILDKIT_RUN})];
    if let Some(source) = cache::source(builder, &settings.cache) {
        let volume = builder.new_volume("slipway-buildkitd-cache", &source);
        mounts.push(json!({"name": volume, "mountPath": "/var/lib/buildkit"}));
        if matches!(settings.cache, Cache::Pvc(_)) {
            cache::warn_of_sharing(builder, &settings.cache);
        }
    }
    if let Some(mount) = buildkitd_toml(builder) {
        mounts.push(mount);
    }
    // buildkitd opens its socket to root and to one group: a runner that is not root needs to be in it.
    let groups = &plan.profile.containerd.supplemental_groups;
    let group = groups.first().copied().unwrap_or(SOCKET_GROUP);
    builder.supplemental_group(group);
    let args = [
        "--addr",
        &address,
        "--oci-worker=true",
        "--containerd-worker=false",
        "--group",
        &group.to_string(),
    ];
    let container = json!({
        "name": BUILDKITD,
        "image": settings.image,
        "args": args,
        "resources": resources::of_added(builder, &settings.resources),
        "securityContext": {"privileged": true, "runAsUser": 0, "runAsNonRoot": false},
        "startupProbe": probe(&["buildctl", "--addr", &address, "debug", "workers"]),
        "volumeMounts": mounts,
    });
    add(builder, container);
}

/// buildkitd.toml with the mirrors of Docker Hub: buildkitd reads no dockerd flag.
fn buildkitd_toml(builder: &mut Builder<'_>) -> Option<Value> {
    let plan = builder.plan;
    let mirrors = settings::live_mirrors(&plan.profile.dind, plan.dead_mirrors);
    if mirrors.is_empty() {
        return None;
    }
    let hosts: Vec<&str> = mirrors.iter().map(|mirror| mirror.host()).collect();
    let plain_http = mirrors
        .iter()
        .filter(|mirror| mirror.is_plain_http())
        .map(|mirror| format!("[registry.\"{}\"]\n  http = true\n", mirror.host()));
    let hub = format!("[registry.\"docker.io\"]\n  mirrors = {}\n", json!(hosts));
    let toml: String = std::iter::once(hub).chain(plain_http).collect();
    let volume = builder.file_volume(
        BUILDKITD_TOML,
        BUILDKITD_TOML_VOLUME,
        "buildkitd.toml",
        toml,
    )?;
    Some(json!({
        "name": volume, "mountPath": "/etc/buildkit/buildkitd.toml",
        "subPath": "buildkitd.toml", "readOnly": true
    }))
}

fn probe(command: &[&str]) -> Value {
    json!({"exec": {"command": command}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 120})
}

/// Adds a sidecar that starts before the runner where the cluster knows native sidecars.
fn add(builder: &mut Builder<'_>, container: Value) {
    let init = builder.plan.native_sidecars;
    let container = match container {
        Value::Object(mut fields) => {
            if init {
                fields.insert("restartPolicy".to_owned(), json!("Always"));
            }
            fields.retain(|_, value| !is_empty(value));
            Value::Object(fields)
        }
        other => other,
    };
    builder.push(Injection::AddContainer { init, container });
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}
