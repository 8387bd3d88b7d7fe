//! The strategy `containerd`: the node's containerd socket in the runner.

use super::{builder::Builder, buildkitd};
use crate::{decide::DockerdPlan, patch::VolumeSource, policy::Containerd};

/// Where containerd's clients look by default.
const DEFAULT_SOCKET: &str = "/run/containerd/containerd.sock";
/// Where the socket is mounted when the pod has a dockerd: dockerd would use a socket at the default
/// path instead of its own containerd, and often shares the runner's `/run`.
const SOCKET_BESIDE_DOCKERD: &str = "/opt/slipway/containerd.sock";

/// Mounts the socket in every client, says where it is, and lets the client open it.
pub(super) fn inject(builder: &mut Builder<'_, '_>) {
    let plan = builder.plan;
    let Containerd {
        namespace,
        supplemental_groups,
        buildkitd,
        ..
    } = &plan.profile.containerd;
    let Some(socket) = &plan.socket else { return };
    let path = match plan.dockerd {
        DockerdPlan::Sidecar(_) | DockerdPlan::InRunner(_) => SOCKET_BESIDE_DOCKERD,
        DockerdPlan::Absent | DockerdPlan::Add | DockerdPlan::Remove(_) => DEFAULT_SOCKET,
    };
    let source = VolumeSource::host_socket(socket.clone());
    for client in &plan.clients {
        builder.mount(*client, path, "containerd-sock", &source);
        builder.env(*client, "CONTAINERD_ADDRESS", path);
        builder.env(*client, "CONTAINERD_NAMESPACE", namespace);
    }
    for group in supplemental_groups {
        builder.supplemental_group(*group);
    }
    if let Some(settings) = buildkitd {
        buildkitd::add_buildkitd(builder, settings);
    }
}
