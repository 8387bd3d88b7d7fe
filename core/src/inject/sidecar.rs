//! A dockerd that is added to a pod without one.

use serde_json::{Map, Value, json};

use super::{
    DAEMON_JSON, DAEMON_JSON_VOLUME, Injection,
    builder::Builder,
    cache, pool, resources, settings, start,
    target::{CONFIG_DIR, Target},
};
use crate::{
    dockerd::StartWrapper,
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
pub(super) fn add_dockerd(builder: &mut Builder<'_>) {
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
    mounts.extend(data_root(builder));

    let target = Target::added(image);
    let options = start::options(builder, &target, true, |builder, source| {
        let volume = builder.new_volume(start::SLOTS_VOLUME, source);
        mounts.push(json!({"name": volume, "mountPath": start::SLOTS_DIR}));
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

    let env = dind.env.iter();
    let env = env.map(|(name, value)| json!({"name": name, "value": value}));
    let container = json!({
        "name": DOCKERD,
        "image": image,
        "command": command.unwrap_or_default(),
        "args": args,
        "env": env.collect::<Vec<_>>(),
        "resources": resources::of_added(builder, &dind.resources),
        "securityContext": {"privileged": true, "runAsUser": 0, "runAsNonRoot": false},
        "startupProbe": startup_probe(&["docker", "--host", &socket, "info"]),
        "volumeMounts": mounts,
    });
    add(builder, container);
}

/// Shares the directory of an added daemon's socket with the clients, and tells them its address.
/// Returns the daemon's own mount of it.
pub(super) fn share_socket(
    builder: &mut Builder<'_>,
    volume: &str,
    dir: &str,
    variable: &str,
    address: &str,
) -> Value {
    let source = json!({"emptyDir": {}});
    let name = builder.new_volume(volume, &source);
    for client in &builder.plan.clients {
        builder.mount(*client, dir, volume, &source);
        builder.env(*client, variable, address);
    }
    json!({"name": name, "mountPath": dir})
}

/// Returns the mount of the volume on the data-root, if the profile has one.
fn data_root(builder: &mut Builder<'_>) -> Option<Value> {
    let cache = builder.plan.profile.dind.cache.volume();
    let source = pool::claim(builder).or_else(|| cache::source(builder, &cache))?;
    let volume = builder.new_volume("slipway-docker-cache", &source);
    cache::warn_of_sharing(builder, &cache);
    Some(json!({"name": volume, "mountPath": "/var/lib/docker"}))
}

/// Returns the mount of daemon.json, if there is one.
fn daemon_json(builder: &mut Builder<'_>, delivery: settings::Delivery) -> Option<Value> {
    let content = delivery.into_file()?;
    let volume = builder.file_volume(DAEMON_JSON, DAEMON_JSON_VOLUME, "daemon.json", content)?;
    Some(json!({
        "name": volume, "mountPath": format!("{CONFIG_DIR}/daemon.json"),
        "subPath": "daemon.json", "readOnly": true
    }))
}

/// Returns mounts of the runner's own volumes, at the same paths, so that `docker run -v $PWD:…`
/// finds its files.
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

/// Returns a startup probe that runs `command`.
pub(super) fn startup_probe(command: &[&str]) -> Value {
    json!({"exec": {"command": command}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 120})
}

/// Adds a sidecar, which starts before the runner where the cluster has native sidecars.
pub(super) fn add(builder: &mut Builder<'_>, container: Value) {
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
