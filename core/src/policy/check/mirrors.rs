//! Mirrors of registries, as BuildKit reads them: how a host is reached is a property of the host, not of one mirror.

use std::collections::BTreeMap;

use super::Findings;
use crate::policy::{
    Dind,
    key_path::KeyPath,
    values::{HubMirror, MirrorUrl},
};

/// Docker Hub's hosts that BuildKit never looks up: it knows the registry as `docker.io`.
const HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// Checks the mirrors of a profile; `path` is that of `dind`.
pub(super) fn check(path: &KeyPath, dind: &Dind, findings: &mut Findings) {
    let mut schemes = BTreeMap::new();
    for mirror in dind.registry_mirrors.iter().map(HubMirror::url) {
        schemes.insert(mirror.host(), mirror);
    }
    for (registry, mirrors) in &dind.mirrors {
        let path = path.at("mirrors").key(registry.as_str());
        findings.expect(
            !HUB_ALIASES.contains(&registry.as_str()),
            path.clone(),
            "Docker Hub is `docker.io`",
        );
        for (index, mirror) in mirrors.iter().enumerate() {
            let other: &MirrorUrl = schemes.entry(mirror.host()).or_insert(mirror);
            findings.expect(
                other.is_plain_http() == mirror.is_plain_http(),
                path.clone().index(index),
                format!(
                    "`{other}` says otherwise: BuildKit reaches all mirrors of a host either by https or by http"
                ),
            );
        }
    }
}
