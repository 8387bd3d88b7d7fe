//! containerd's namespaces, and the groups that may open a socket of the host.

use super::Findings;
use crate::policy::{Profile, key_path::KeyPath};

/// The highest group id that both Linux and Kubernetes accept.
const MAX_GROUP: i64 = i32::MAX as i64;

/// Checks the host sockets of a profile, whose path is `path`.
pub(super) fn check(path: &KeyPath, profile: &Profile, findings: &mut Findings) {
    let namespace = profile.containerd.namespace.as_str();
    findings.expect(
        !matches!(namespace, "k8s.io" | "moby" | ""),
        path.at("containerd.namespace"),
        "expected a namespace of its own: a builder may delete what it finds there",
    );
    let groups = [
        ("containerd", &profile.containerd.supplemental_groups),
        ("dockerSocket", &profile.docker_socket.supplemental_groups),
    ];
    for (key, groups) in groups {
        let path = path.at(key).at("supplementalGroups");
        for (index, id) in groups.iter().enumerate() {
            findings.expect(
                (0..=MAX_GROUP).contains(id),
                path.clone().index(index),
                format!("{id} is not a valid group id: expected 0 to {MAX_GROUP}"),
            );
        }
    }
}
