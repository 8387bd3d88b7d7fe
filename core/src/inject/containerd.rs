//! The strategy `containerd`: the node's containerd socket in the runner.

use super::{builder::Builder, buildkitd};
use crate::{decide::DockerdPlan, patch::VolumeSource, pod::Container, policy::Containerd};

const VOLUME: &str = "containerd-sock";
/// Where containerd's clients look by default.
const DEFAULT_SOCKET: &str = "/run/containerd/containerd.sock";
/// Where the socket is mounted when a dockerd may run: beside one that stays, which often shares the runner's
/// `/run`, and in a privileged container, where one may start unseen. It would use a socket at the default path
/// instead of its own containerd.
const HIDDEN_SOCKET: &str = "/opt/slipway/containerd.sock";

/// Mounts the socket in every client, says where it is, and lets the client open it.
pub(super) fn inject(builder: &mut Builder<'_, '_>) {
    let plan = builder.plan;
    let Containerd {
        namespace,
        supplemental_groups,
        buildkitd,
        ..
    } = &plan.profile.containerd;
    if let Some(socket) = &plan.socket {
        let beside_dockerd = matches!(
            plan.dockerd,
            DockerdPlan::Sidecar(_) | DockerdPlan::InRunner(_) | DockerdPlan::Hidden
        );
        let source = VolumeSource::host_socket(socket.clone());
        for client in &plan.clients {
            let container = builder.container(*client);
            let is_privileged = container.is_some_and(Container::is_privileged);
            let is_hidden = is_privileged
                || beside_dockerd
                || builder.is_in_foreign_volume(*client, DEFAULT_SOCKET);
            let path = if is_hidden {
                HIDDEN_SOCKET
            } else {
                DEFAULT_SOCKET
            };
            if builder.ensure_mount(*client, path, VOLUME, &source) {
                builder.env(*client, "CONTAINERD_ADDRESS", path);
                builder.env(*client, "CONTAINERD_NAMESPACE", namespace);
            }
        }
        for group in supplemental_groups {
            builder.supplemental_group(*group);
        }
    }
    if let Some(settings) = buildkitd {
        buildkitd::add_buildkitd(builder, settings);
    }
}
