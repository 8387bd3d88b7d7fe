//! The start wrapper: a shell script that stands before dockerd as the container's `command`, for
//! what can be known on the node only: which data-root is free, and the MTU of the pod's interface.

use std::{borrow::Cow, fmt::Write as _, sync::LazyLock};

use super::{Injection, builder::Builder, dind, settings};
use crate::{
    cache::key::CacheKey,
    dockerd::{CommandLine, Image, START},
    k8s::names::is_dns_label,
    pod::{Container, ContainerRef},
    policy::{
        NodeSlots,
        values::{LabelKey, Mtu},
    },
    reason::Reason,
};

/// Where the slots of a pod stand in the dockerd container.
pub(super) const SLOTS_DIR: &str = "/opt/slipway/slots";
pub(super) const SLOTS_VOLUME: &str = "slipway-docker-slots";
const BYTES_PER_MB: i128 = 1_000_000;
const NANO: i128 = 1_000_000_000;

/// The script, without the comments that are for its readers.
pub static START_SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let source = include_str!("start/dockerd-start.sh");
    let lines = source.lines().filter(|line| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with('#')
    });
    lines.fold(String::new(), |mut script, line| {
        // Writing to a string does not fail.
        let _ = writeln!(script, "{line}");
        script
    })
});

/// What the wrapper is to do; nothing by default, and then there is none.
#[derive(Debug, Default)]
pub(super) struct Start {
    options: Vec<String>,
}

impl Start {
    /// Takes a slot.
    pub fn slots(&mut self, slots: &NodeSlots) {
        self.options.push(format!("slots={}", slots.slots));
        if let Some(budget) = &slots.budget {
            let mb = budget.nano() / NANO / BYTES_PER_MB;
            self.options.push(format!("budget={mb}"));
        }
    }

    /// Reads the MTU; also for networks that jobs create, where dockerd knows the flag.
    pub fn mtu(&mut self, of_networks: bool) {
        self.options.push("mtu=auto".to_owned());
        if of_networks {
            self.options.push("network-mtu=auto".to_owned());
        }
    }

    /// Starts containerd before dockerd.
    pub fn containerd(&mut self) {
        self.options.push("containerd=first".to_owned());
    }

    /// The `command` before a container's own, or before the entrypoint of docker's image; `None`
    /// when there is nothing to do.
    pub fn command<'c>(
        &self,
        own: impl IntoIterator<Item = &'c str>,
    ) -> Option<Vec<Cow<'static, str>>> {
        if self.options.is_empty() {
            return None;
        }
        let head = ["sh", "-c", START_SCRIPT.as_str(), START];
        let mut words: Vec<Cow<'static, str>> = head.map(Cow::Borrowed).into();
        words.extend(self.options.iter().cloned().map(Cow::Owned));
        words.push("--".into());
        let before = words.len();
        words.extend(own.into_iter().map(|word| Cow::Owned(word.to_owned())));
        if words.len() == before {
            words.push("dockerd-entrypoint.sh".into());
        }
        Some(words)
    }
}

/// A dockerd container that the wrapper could stand before.
#[derive(Clone, Copy)]
pub(super) struct Target<'t> {
    pub place: ContainerRef,
    pub container: &'t Container<'t>,
    pub line: &'t CommandLine<'t>,
    pub image: &'t str,
    /// Whether what the image holds is known.
    pub stock: bool,
}

/// Puts the wrapper before the dockerd of the pod, if a feature needs it. `root` says whether the
/// volume on the default data-root is Slipway's, so that a slot may stand in its place.
pub(super) fn wrap(builder: &mut Builder<'_>, target: Target<'_>, root_is_ours: bool) {
    if target.line.is_wrapped() {
        return;
    }
    let dind = &builder.plan.profile.dind;
    let mut start = Start::default();
    if dind.mtu == Some(Mtu::Auto)
        && !is_settled(builder, &target, "mtu")
        && admits(builder, &target, "mtu: auto")
    {
        mtu(builder, &mut start, &target);
    }
    if let Some(slots) = dind.cache.node_slots()
        && root_is_ours
        && admits(builder, &target, "node slots")
        && let Some(source) = slots_source(builder, slots)
        && builder.mount(target.place, SLOTS_DIR, SLOTS_VOLUME, &source)
    {
        start.slots(slots);
    }
    if dind.start_containerd
        && !is_settled(builder, &target, "containerd")
        && !is_settled(builder, &target, "data-root")
        && admits(builder, &target, "startContainerd")
    {
        start.containerd();
    }
    let own = target.container.command.iter().flatten();
    if let Some(command) = start.command(own.map(crate::pod::Str::as_str)) {
        builder.push(Injection::Command {
            container: target.place,
            command,
        });
    }
}

/// The options for the MTU.
fn mtu(builder: &mut Builder<'_>, start: &mut Start, target: &Target<'_>) {
    let own = target.line.sets("default-network-opt");
    let knows = settings::knows_network_mtu(Image::parse(target.image));
    if !knows && !own {
        builder.note(Reason::DockerTooOld(
            settings::MTU_OF_JOB_NETWORKS.to_owned(),
        ));
    }
    start.mtu(knows && !own);
}

/// The directory of the node that holds the pod's slots, and no other pod's.
pub(super) fn slots_source(
    builder: &mut Builder<'_>,
    slots: &NodeSlots,
) -> Option<serde_json::Value> {
    let plan = builder.plan;
    if !plan.host_access || !is_dns_label(plan.namespace) {
        builder.note(Reason::NoHostPath("node slots".to_owned()));
        return None;
    }
    let label = slots.key_label.as_ref().map(LabelKey::as_str);
    let key = CacheKey::of(builder.pod, slots.key, label);
    let root = slots.root.as_str().trim_end_matches('/');
    let path = format!("{root}/{}/{key}", plan.namespace);
    Some(serde_json::json!({"hostPath": {"path": path, "type": "DirectoryOrCreate"}}))
}

fn is_settled(builder: &mut Builder<'_>, target: &Target<'_>, flag: &str) -> bool {
    let settled = target.line.sets(flag);
    if settled {
        builder.note(Reason::PodSets(flag.to_owned()));
    }
    settled
}

/// Whether the wrapper can stand before this dockerd: a container that does not start, or a flag
/// that contradicts a file, would cost the job.
fn admits(builder: &mut Builder<'_>, target: &Target<'_>, what: &str) -> bool {
    let what = what.to_owned();
    let obstacle = if Image::parse(target.image).is_rootless() {
        Reason::Rootless(what)
    } else if !target.stock {
        Reason::ImageNotStock(what)
    } else if dind::has_own_config(builder, target.container, target.line) {
        Reason::OwnDaemonConfig(what)
    } else if !target.line.can_grow() {
        Reason::StartedByScript(what)
    } else if !target.line.is_readable() {
        Reason::CommandUnreadable(what)
    } else {
        return true;
    };
    builder.note(obstacle);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelet_leaves_the_script_as_it_is() {
        // It replaces `$(NAME)` where NAME is a variable, and `$$` by `$`.
        assert!(!START_SCRIPT.contains("$$"));
        for part in START_SCRIPT.split("$(").skip(1) {
            let name = part.split(')').next().unwrap_or_default();
            // Any word can be a variable's name.
            let of_a_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            assert!(name.is_empty() || !name.chars().all(of_a_name), "{name}");
        }
    }

    #[test]
    fn a_container_without_a_command_gets_the_images_entrypoint() {
        let mut start = Start::default();
        assert_eq!(start.command([]), None);
        start.mtu(false);
        let words = |own: &[&'static str]| start.command(own.iter().copied()).unwrap_or_default();
        assert_eq!(
            words(&[])[3..],
            [START, "mtu=auto", "--", "dockerd-entrypoint.sh"]
        );
        assert_eq!(words(&["dockerd", "-D"])[5..], ["--", "dockerd", "-D"][..]);
    }
}
