//! A dockerd that gets settings: one that the pod brings, or one that is added.

use super::{DAEMON_JSON, builder::Builder};
use crate::{
    dockerd::{CommandLine, Image, Settings},
    pod::{Container, ContainerRef, is_within},
    reason::Reason,
};

/// The directory of daemon.json.
pub(super) const CONFIG_DIR: &str = "/etc/docker";

/// What is known of the dockerd.
pub(super) struct Target<'t> {
    /// Its container; `None` for one that is added.
    pub container: Option<(ContainerRef, &'t Container<'t>)>,
    /// Its command line.
    pub line: CommandLine<'t>,
    /// Its image.
    pub image: Image<'t>,
    /// Whether the image is known to hold a shell and no daemon.json.
    is_stock: bool,
    /// Whether the pod brings a daemon.json, with keys that a flag could contradict.
    has_own_config: bool,
}

/// The reason for which settings are left out.
pub(super) type Obstacle = fn(Settings) -> Reason;

impl<'t> Target<'t> {
    /// Looks at a dockerd of the pod, which runs `image` in the end.
    pub fn of(
        builder: &Builder<'_, '_>,
        at: ContainerRef,
        container: &'t Container<'t>,
        image: &'t str,
    ) -> Self {
        let line = CommandLine::of(container);
        let has_own_config = line.sets("config-file") || mounts_config(builder, container);
        Self {
            container: Some((at, container)),
            line,
            image: Image::parse(image),
            is_stock: builder.plan.profile.dind.is_stock(image),
            has_own_config,
        }
    }

    /// Describes a dockerd that is added: nothing of it is the pod's.
    pub fn added(image: &'t str) -> Self {
        Self {
            container: None,
            line: CommandLine::empty(),
            image: Image::parse(image),
            is_stock: true,
            has_own_config: false,
        }
    }

    /// Returns whether the container is privileged, as an added one is. dockerd can do without in a sandbox
    /// of its own, from which a directory of the node would be a way out.
    pub fn is_privileged(&self) -> bool {
        self.container
            .is_none_or(|(_, container)| container.is_privileged())
    }

    /// Returns what keeps settings from being delivered by flag or file: dockerd refuses to start
    /// when one contradicts the other.
    pub fn obstacle_to_settings(&self) -> Option<Obstacle> {
        if !self.is_stock {
            Some(Reason::ImageNotStock)
        } else if self.has_own_config {
            Some(Reason::OwnDaemonConfig)
        } else if !self.line.is_readable() {
            Some(Reason::CommandUnreadable)
        } else {
            None
        }
    }

    /// Returns what keeps the start wrapper from running first: it needs a shell in the image, and
    /// it adds flags.
    pub fn obstacle_to_wrapper(&self) -> Option<Obstacle> {
        if self.image.is_rootless() {
            return Some(Reason::Rootless);
        }
        let is_scripted = self.is_stock && !self.has_own_config && !self.line.can_grow();
        if is_scripted {
            return Some(Reason::StartedByScript);
        }
        self.obstacle_to_settings()
    }
}

/// Returns whether the container mounts something of its own where daemon.json is.
fn mounts_config(builder: &Builder<'_, '_>, container: &Container<'_>) -> bool {
    let is_ours = builder.pod.metadata.annotation(DAEMON_JSON).is_some();
    !is_ours
        && container.mounts().iter().any(|mount| {
            is_within(&mount.mount_path, CONFIG_DIR) || is_within(CONFIG_DIR, &mount.mount_path)
        })
}
