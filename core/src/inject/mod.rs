//! `Plan -> injections`: what each strategy puts into a pod. Pure.
//!
//! Every injection looks first whether the pod has it already, by whatever hand. So what a user
//! set stays, and deciding on a patched pod adds nothing
//! (`reinvocationPolicy: IfNeeded` needs that).

mod builder;
mod buildkit;
mod buildkitd;
mod cache;
mod containerd;
mod dind;
mod docker_socket;
mod pool;
mod resources;
mod settings;
mod sidecar;
mod start;
mod target;

use std::fmt;

use builder::Builder;
pub use builder::annotations_fit;
use serde_json::Value;
pub use start::Script as StartScript;

use crate::{
    decide::{DockerdPlan, Plan, Strategy},
    dockerd::StartWrapper,
    nodes::Pin,
    pod::{ContainerRef, Pod},
    reason::Reason,
};

/// Annotation that delivers daemon.json with the pod, through a downward API volume.
pub const DAEMON_JSON: &str = "slipway.io/daemon.json";
const DAEMON_JSON_VOLUME: &str = "slipway-daemon-json";
/// Annotation that says what was done.
pub const STATUS: &str = "slipway.io/status";

/// One thing that is put into the pod, or taken out.
#[derive(Debug, Clone, PartialEq)]
pub enum Injection {
    /// A volume.
    Volume {
        /// Its name, unique in the pod.
        name: String,
        /// Its source, such as `{"emptyDir": {}}`.
        source: Value,
    },
    /// A mount of a volume.
    Mount {
        /// The container.
        container: ContainerRef,
        /// The container's name, for people.
        container_name: String,
        /// The volume's name.
        volume: String,
        /// Where it is mounted.
        path: String,
        /// The one file of the volume that is mounted, if not all of it.
        sub_path: Option<&'static str>,
    },
    /// A variable; one that is there already is replaced.
    Env {
        /// The container.
        container: ContainerRef,
        /// The container's name, for people.
        container_name: String,
        /// The variable's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Arguments for dockerd.
    Args {
        /// The container.
        container: ContainerRef,
        /// The arguments that are there and stay, when others go; `None` to append only.
        keep: Option<Vec<String>>,
        /// The arguments that are added.
        add: Vec<String>,
    },
    /// The start wrapper in front of dockerd.
    Command {
        /// The container.
        container: ContainerRef,
        /// All of its `command`.
        command: StartWrapper<'static>,
    },
    /// A request or a limit.
    Resource {
        /// The container.
        container: ContainerRef,
        /// The container's name, for people.
        container_name: String,
        /// `requests` or `limits`.
        kind: ResourceKind,
        /// The resource's name.
        resource: String,
        /// The quantity.
        quantity: String,
    },
    /// An image.
    Image {
        /// The container.
        container: ContainerRef,
        /// The image.
        image: String,
    },
    /// An annotation of the pod.
    Annotation {
        /// Its key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A label of the pod.
    Label {
        /// Its key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A group that every process of the pod gets.
    SupplementalGroup(i64),
    /// A required node affinity, ANDed with what the pod asks for.
    NodeAffinity(Pin),
    /// A container.
    AddContainer {
        /// Whether it goes to `initContainers`: a native sidecar or an init container.
        init: bool,
        /// The container.
        container: Value,
    },
    /// A dockerd sidecar goes.
    RemoveContainer(ContainerRef),
}

/// `requests` or `limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    /// What the scheduler reserves.
    Requests,
    /// What the kernel enforces.
    Limits,
}

impl ResourceKind {
    /// The field's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Value, key: &str| {
            let found = value.get(key).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        match self {
            Self::Volume { name, source } => {
                let kind = source.as_object().and_then(|source| source.keys().next());
                let path = source.pointer("/hostPath/path").and_then(Value::as_str);
                write!(f, "volume {name}: {}", kind.map_or("", String::as_str))?;
                path.map_or(Ok(()), |path| write!(f, " {path}"))
            }
            Self::Mount {
                container_name,
                volume,
                path,
                ..
            } => write!(f, "{container_name}: mount {volume} on {path}"),
            Self::Env {
                container_name,
                name,
                value,
                ..
            } => write!(f, "{container_name}: env {name}={value}"),
            Self::Args { add, .. } => write!(f, "dockerd: arguments {}", add.join(" ")),
            Self::Command { command, .. } => write!(f, "dockerd: {command}"),
            Self::Resource {
                container_name,
                kind,
                resource,
                quantity,
                ..
            } => write!(
                f,
                "{container_name}: {}.{resource} {quantity}",
                kind.as_str()
            ),
            Self::Image { image, .. } => write!(f, "dockerd: image {image}"),
            Self::Annotation { key, value } => write!(f, "annotation {key}: {value}"),
            Self::Label { key, value } => write!(f, "label {key}: {value}"),
            Self::SupplementalGroup(group) => write!(f, "supplemental group {group}"),
            Self::NodeAffinity(pin) => {
                write!(
                    f,
                    "node affinity: {} in ({})",
                    pin.key,
                    pin.values.join(", ")
                )
            }
            Self::AddContainer { container, .. } => write!(
                f,
                "container {}: {}",
                text(container, "name"),
                text(container, "image")
            ),
            Self::RemoveContainer(_) => f.write_str("dockerd sidecar: taken out"),
        }
    }
}

/// What is put into a pod, and what was not, with the reasons.
#[derive(Debug, Clone, Default)]
pub struct Injections {
    /// In the order of the patch.
    pub list: Vec<Injection>,
    /// What was left out or changed on the way.
    pub notes: Vec<Reason>,
    /// Whether a claim of the pool would have been injected, had anybody asked for one.
    pub wants_claim: bool,
}

/// The injections of a plan.
#[must_use]
pub fn inject(pod: &Pod<'_>, plan: &Plan<'_>) -> Injections {
    let mut builder = Builder::new(pod, plan);
    match plan.strategy {
        Strategy::Containerd => containerd::inject(&mut builder),
        Strategy::DockerSocket => docker_socket::inject(&mut builder),
        Strategy::Dind | Strategy::None => {}
    }
    match plan.dockerd {
        DockerdPlan::Sidecar(place) => dind::sidecar(&mut builder, place),
        DockerdPlan::InRunner(place) => dind::in_runner(&mut builder, place),
        DockerdPlan::Add => sidecar::add_dockerd(&mut builder),
        DockerdPlan::Remove(place) => dind::remove(&mut builder, place),
        DockerdPlan::Absent => {}
    }
    if matches!(
        plan.dockerd,
        DockerdPlan::Sidecar(_) | DockerdPlan::InRunner(_) | DockerdPlan::Add
    ) {
        dind::wait_for_docker(&mut builder);
    }
    buildkit::client(&mut builder);
    if let Some(pin) = &plan.pin {
        builder.pin(pin);
    }
    builder.finish()
}
