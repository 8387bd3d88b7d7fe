//! The node's containerd socket in the runner.

use serde_json::json;

use super::{builder::Builder, buildkitd};
use crate::{decide::DockerdPlan, policy::Containerd};

/// Where containerd's clients look by default.
const USUAL_PLACE: &str = "/run/containerd/containerd.sock";
/// Where it stands when a dockerd is in the pod: dockerd uses a socket at the usual place instead
/// of its own containerd, and a runner's `/run` is often shared with it.
const BESIDE_DOCKERD: &str = "/opt/slipway/containerd.sock";

pub(super) fn inject(builder: &mut Builder<'_>) {
    let plan = builder.plan;
    let Containerd {
        namespace,
        supplemental_groups,
        buildkitd,
        ..
    } = &plan.profile.containerd;
    let Some(socket) = &plan.socket else { return };
    let path = match plan.dockerd {
        DockerdPlan::Sidecar(_) | DockerdPlan::InRunner(_) => BESIDE_DOCKERD,
        DockerdPlan::Absent | DockerdPlan::Add | DockerdPlan::Remove(_) => USUAL_PLACE,
    };
    let source = json!({"hostPath": {"path": socket, "type": "Socket"}});
    for place in &plan.clients {
        builder.mount(*place, path, "containerd-sock", &source);
        builder.env(*place, "CONTAINERD_ADDRESS", path);
        builder.env(*place, "CONTAINERD_NAMESPACE", namespace);
    }
    for group in supplemental_groups {
        builder.supplemental_group(*group);
    }
    if let Some(settings) = buildkitd {
        buildkitd::add_buildkitd(builder, settings);
    }
}
