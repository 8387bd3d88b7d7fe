//! Requests and limits of containers.

use super::Findings;
use crate::{
    k8s::names::is_container_resource,
    policy::{Profile, ResourceSettings, key_path::KeyPath},
};

/// Checks the resources of a profile, whose path is `path`.
pub(super) fn check(path: &KeyPath, profile: &Profile, findings: &mut Findings) {
    let dockerd = Some(&profile.dind.resources);
    let buildkitd = profile.containerd.buildkitd.as_ref();
    for (key, settings) in [
        ("dind.resources", dockerd),
        (
            "containerd.buildkitd.resources",
            buildkitd.map(|buildkitd| &buildkitd.resources),
        ),
    ] {
        if let Some(settings) = settings {
            check_settings(&path.at(key), settings, findings);
        }
    }
}

fn check_settings(path: &KeyPath, settings: &ResourceSettings, findings: &mut Findings) {
    let named = [
        ("requests", &settings.requests),
        ("limits", &settings.limits),
    ];
    for (key, quantities) in named {
        for name in quantities.keys() {
            findings.expect(
                is_container_resource(name),
                path.at(key).key(name),
                "not a resource of a container: expected cpu, memory, ephemeral-storage, hugepages-… or example.com/…",
            );
        }
    }
    for (name, request) in &settings.requests {
        let limit = settings.limits.get(name);
        findings.expect(
            limit.is_none_or(|limit| request <= limit),
            path.at("requests").key(name),
            "the request exceeds the limit",
        );
    }
}
