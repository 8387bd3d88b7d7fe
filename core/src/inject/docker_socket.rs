//! The strategy `docker-socket`: the node's Docker Engine socket in the runner.

use super::builder::Builder;
use crate::{decide::DockerdPlan, patch::VolumeSource, pod::canonical_path};

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Mounts the socket in every client, where the client looks for it, and lets the client open it.
pub(super) fn inject(builder: &mut Builder<'_, '_>) {
    let plan = builder.plan;
    let Some(socket) = &plan.socket else { return };
    let source = VolumeSource::host_socket(socket.clone());
    for client in &plan.clients {
        let container = builder.container(*client);
        let host = container.and_then(|c| c.env_value("DOCKER_HOST"));
        let path = host
            .and_then(|host| host.strip_prefix("unix://"))
            .filter(|path| path.starts_with('/') && !path.contains(':'))
            .filter(|path| canonical_path(path) != "/")
            .unwrap_or(DEFAULT_SOCKET)
            .to_owned();
        let host = format!("unix://{path}");
        builder.mount(*client, path, "docker-sock", &source);
        if matches!(plan.dockerd, DockerdPlan::Remove(_)) {
            builder.set_env(*client, "DOCKER_HOST", host);
        } else {
            builder.env(*client, "DOCKER_HOST", host);
        }
    }
    for group in &plan.profile.docker_socket.supplemental_groups {
        builder.supplemental_group(*group);
    }
}
