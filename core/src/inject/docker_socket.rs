//! The node's Docker Engine socket in the runner.

use serde_json::json;

use super::builder::Builder;
use crate::{decide::DockerdPlan, pod::canonical_path};

const USUAL_PLACE: &str = "/var/run/docker.sock";

pub(super) fn inject(builder: &mut Builder<'_>) {
    let plan = builder.plan;
    let Some(socket) = &plan.socket else { return };
    let source = json!({"hostPath": {"path": socket, "type": "Socket"}});
    for place in &plan.clients {
        let host = builder
            .container(*place)
            .and_then(|c| c.env_value("DOCKER_HOST"));
        // A client that looks elsewhere already finds the socket there.
        let path = host
            .and_then(|host| host.strip_prefix("unix://"))
            .filter(|path| path.starts_with('/') && !path.contains(':'))
            .filter(|path| canonical_path(path) != "/")
            .unwrap_or(USUAL_PLACE)
            .to_owned();
        builder.mount(*place, &path, "docker-sock", &source);
        let value = format!("unix://{path}");
        if matches!(plan.dockerd, DockerdPlan::Remove(_)) {
            builder.set_env(*place, "DOCKER_HOST", &value);
        } else {
            builder.env(*place, "DOCKER_HOST", &value);
        }
    }
    for group in &plan.profile.docker_socket.supplemental_groups {
        builder.supplemental_group(*group);
    }
}
