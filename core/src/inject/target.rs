//! A dockerd that gets settings: one that the pod brings, or one that is added.

use std::borrow::Cow;

use super::{DAEMON_JSON, builder::Builder};
use crate::{
    dockerd::{CommandLine, Image, Settings, words},
    pod::{Container, ContainerRef, is_within},
    reason::Reason,
};

/// The directory of daemon.json.
pub(super) const CONFIG_DIR: &str = "/etc/docker";
/// The directories of daemon.json, as scripts name them: of a rootless dockerd, below its home.
const CONFIG_DIRS: [&str; 2] = [CONFIG_DIR, ".config/docker"];
/// The home directory in docker's rootless image.
const ROOTLESS_HOME: &str = "/home/rootless";

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
        let has_own_config = line.sets("config-file") || brings_config(builder, container);
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

/// Returns whether the container has a daemon.json of its own: mounted, or written by a script.
pub(super) fn brings_config(builder: &Builder<'_, '_>, container: &Container<'_>) -> bool {
    let is_ours = builder.pod.metadata.annotation(DAEMON_JSON).is_some();
    let file = config_file(container);
    let mut mounts = container.mounts().iter();
    !is_ours && mounts.any(|mount| is_within(&file, &mount.mount_path))
        || words(container).into_iter().any(names_config)
}

/// Returns the path of the daemon.json that this dockerd reads.
fn config_file(container: &Container<'_>) -> Cow<'static, str> {
    let image = container.image.as_deref().unwrap_or_default();
    if !Image::parse(image).is_rootless() {
        return Cow::Borrowed("/etc/docker/daemon.json");
    }
    let dir = match container.env_value("XDG_CONFIG_HOME") {
        Some(dir) => dir.to_owned(),
        None => format!(
            "{}/.config",
            container.env_value("HOME").unwrap_or(ROOTLESS_HOME)
        ),
    };
    Cow::Owned(format!("{dir}/docker/daemon.json"))
}

/// Returns whether a script names daemon.json, or its directory as a whole. Other files of the directory, such as
/// the certificates of registries, are no daemon.json.
fn names_config(script: &str) -> bool {
    let names_whole = |dir: &str| {
        let rests = script
            .match_indices(dir)
            .filter_map(|(at, _)| script.get(at + dir.len()..));
        rests.into_iter().any(|rest| {
            let rest = rest.strip_prefix('/').unwrap_or(rest);
            !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c))
        })
    };
    script.contains("daemon.json") || CONFIG_DIRS.iter().any(|dir| names_whole(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_brings_a_configuration_if_it_names_the_file_or_its_directory() {
        for (script, expected) in [
            ("echo '{}' > /etc/docker/daemon.json && dockerd", true),
            ("cp /conf/* /etc/docker/; dockerd", true),
            ("cp -r /conf /etc/docker && dockerd", true),
            ("cd \"$HOME/.config/docker\" && jq . x > y", true),
            (
                "mkdir -p /etc/docker/certs.d/reg && cp ca.crt /etc/docker/certs.d/reg/",
                false,
            ),
            ("mkdir -p /etc/docker-extra; dockerd", false),
            ("dockerd --mtu=1400", false),
        ] {
            assert_eq!(names_config(script), expected, "{script}");
        }
    }
}
