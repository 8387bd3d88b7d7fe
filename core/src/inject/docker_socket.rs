//! The strategy `docker-socket`: the node's Docker Engine socket in the runner.

use super::builder::Builder;
use crate::{
    decide::DockerdPlan,
    dockerd::Setting,
    patch::VolumeSource,
    pod::{Container, canonical_path, is_within},
    reason::Reason,
};

const VOLUME: &str = "docker-sock";
/// Where docker's clients look by default.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Where the socket is mounted in a privileged container: a dockerd there would mistake one at the default path for
/// its own.
const HIDDEN_SOCKET: &str = "/opt/slipway/docker.sock";

/// Mounts the socket in every client, where the client looks for it, and lets the client open it.
pub(super) fn inject(builder: &mut Builder<'_, '_>) {
    let plan = builder.plan;
    let Some(socket) = &plan.socket else { return };
    let source = VolumeSource::host_socket(socket.clone());
    let is_replaced = matches!(plan.dockerd, DockerdPlan::Remove(_));
    for at in &plan.clients {
        let Some(client) = builder.container(*at) else {
            continue;
        };
        let path = match client_path(client) {
            Some(DEFAULT_SOCKET) if builder.is_in_foreign_volume(*at, DEFAULT_SOCKET) => {
                HIDDEN_SOCKET.to_owned()
            }
            Some(path) if builder.is_in_foreign_volume(*at, path) => {
                builder.note(Reason::MountTaken(path.to_owned()));
                continue;
            }
            Some(path) => path.to_owned(),
            None if is_replaced => HIDDEN_SOCKET.to_owned(),
            None => {
                let variable = Setting::Variable("DOCKER_HOST".to_owned());
                builder.note(Reason::PodSets(variable));
                continue;
            }
        };
        let host = format!("unix://{path}");
        if !builder.ensure_mount(*at, path, VOLUME, &source) {
            continue;
        }
        if is_replaced {
            builder.set_env(*at, "DOCKER_HOST", host);
        } else {
            builder.env(*at, "DOCKER_HOST", host);
        }
    }
    for group in &plan.profile.docker_socket.supplemental_groups {
        builder.supplemental_group(*group);
    }
}

/// Returns where the client will look for the socket. `None` for a privileged one that looks below `/run`: it gets
/// no socket there.
pub(crate) fn client_path<'c>(client: &'c Container<'_>) -> Option<&'c str> {
    match own_path(client) {
        Some(path) if client.is_privileged() => (!is_within(path, "/run")).then_some(path),
        Some(path) => Some(path),
        None if client.is_privileged() => Some(HIDDEN_SOCKET),
        None => Some(DEFAULT_SOCKET),
    }
}

/// Returns the path in the client's own `DOCKER_HOST`.
fn own_path<'c>(client: &'c Container<'_>) -> Option<&'c str> {
    client
        .env_value("DOCKER_HOST")
        .and_then(|host| host.strip_prefix("unix://"))
        .filter(|path| path.starts_with('/') && !path.contains(':'))
        .filter(|path| canonical_path(path) != "/")
}
