//! What each strategy puts into a pod: the changes that follow from a plan.
//!
//! Every feature first looks at what the pod has, wherever that came from. So the pod's own settings
//! win, and deciding on a patched pod adds nothing (`reinvocationPolicy: IfNeeded` needs that).

mod builder;
mod buildkit;
mod buildkitd;
mod buildkitd_config;
mod containerd;
mod data_root;
mod dind;
mod docker_socket;
mod leased_claim;
mod local_cache;
mod resources;
mod settings;
mod sidecar;
mod start;
mod startup_probe;
mod target;

use builder::Builder;
pub use buildkitd::{ADDRESS as BUILDKITD_ADDRESS, BUILDKITD};
pub(crate) use docker_socket::client_path as docker_socket_path;

use crate::{
    decide::{DockerdPlan, Plan, Strategy},
    patch::PodChanges,
    pod::Pod,
    reason::Reason,
};

/// Annotation that delivers daemon.json with the pod, through a downward API volume.
pub const DAEMON_JSON: &str = "slipway.io/daemon.json";
const DAEMON_JSON_VOLUME: &str = "slipway-daemon-json";
/// Annotation that says what was done.
pub const STATUS: &str = "slipway.io/status";

/// What is put into a pod, and what was not, with the reasons.
#[derive(Debug, Clone, Default)]
pub struct Injections<'a> {
    /// The changes to the pod.
    pub changes: PodChanges<'a>,
    /// What was left out or changed on the way.
    pub notes: Vec<Reason>,
    /// Whether the pod would lease a claim, had anyone asked for one.
    pub wants_claim: bool,
}

/// Returns the changes of a plan.
#[must_use]
pub fn inject<'a>(pod: &Pod<'a>, plan: &Plan<'a>) -> Injections<'a> {
    let mut builder = Builder::new(pod, plan);
    match plan.strategy {
        Strategy::Containerd => containerd::inject(&mut builder),
        Strategy::DockerSocket => docker_socket::inject(&mut builder),
        Strategy::Dind | Strategy::None => {}
    }
    match plan.dockerd {
        DockerdPlan::Sidecar(at) => dind::sidecar(&mut builder, at),
        DockerdPlan::InRunner(at) => dind::in_runner(&mut builder, at),
        DockerdPlan::Add => sidecar::add_dockerd(&mut builder),
        DockerdPlan::Remove(at) => dind::remove(&mut builder, at),
        DockerdPlan::Hidden => builder.note(Reason::DockerdHidden),
        DockerdPlan::Absent => {}
    }
    if dind::starts_before_the_runner(&builder) {
        dind::wait_for_docker(&mut builder);
    }
    buildkit::inject(&mut builder);
    if let Some(pin) = &plan.pin {
        builder.pin(pin);
    }
    builder.finish()
}
