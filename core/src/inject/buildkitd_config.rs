//! The registries' part of `buildkitd.toml`: BuildKit reads none of dockerd's flags.
//!
//! The format is that of BuildKit's docs/buildkitd.toml.md. A mirror is a host there, with a path or without, and
//! how it is reached is a property of that host.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::json;

use super::{builder::Builder, settings};
use crate::reason::Reason;

const DOCKER_HUB: &str = "docker.io";

/// One table of `buildkitd.toml`, of a registry or a mirror, which can be the same host.
#[derive(Default)]
struct Registry<'p> {
    mirrors: Vec<&'p str>,
    is_plain_http: bool,
}

/// Returns the mirrors that respond, as tables of `buildkitd.toml`; empty where there are none. A note says which do
/// not respond.
pub(super) fn registries(builder: &mut Builder<'_, '_>) -> String {
    let plan = builder.plan;
    let dind = &plan.profile.dind;
    settings::note_dead_mirrors(builder);
    let by_registry = dind.mirrors.iter();
    let by_registry = by_registry.flat_map(|(registry, mirrors)| {
        let registry = registry.as_str();
        mirrors.iter().map(move |mirror| (registry, mirror))
    });
    let hub = settings::live_mirrors(dind, plan.dead_mirrors).into_iter();
    // Docker Hub's mirrors for builders alone come before those that dockerd uses too.
    let all = by_registry.chain(hub.map(|mirror| (DOCKER_HUB, mirror)));
    let mut tables: BTreeMap<&str, Registry<'_>> = BTreeMap::new();
    for (registry, mirror) in all {
        if !settings::is_alive(mirror, plan.dead_mirrors) {
            builder.note(Reason::MirrorDead(mirror.to_string()));
            continue;
        }
        let mirrors = &mut tables.entry(registry).or_default().mirrors;
        if !mirrors.contains(&mirror.location()) {
            mirrors.push(mirror.location());
        }
        if mirror.is_plain_http() {
            tables.entry(mirror.host()).or_default().is_plain_http = true;
        }
    }
    tables
        .into_iter()
        .fold(String::new(), |mut text, (host, registry)| {
            // A string of JSON is one of TOML, and writing to a string does not fail.
            let _ = writeln!(text, "[registry.{}]", json!(host));
            if !registry.mirrors.is_empty() {
                let _ = writeln!(text, "  mirrors = {}", json!(registry.mirrors));
            }
            if registry.is_plain_http {
                text.push_str("  http = true\n");
            }
            text
        })
}

/// Returns the limits of garbage collection for a state with this budget. Two versions of BuildKit may have one there,
/// so each gets half. Older versions have another name for the limit.
pub(super) fn garbage_collection(budget_mb: u64) -> String {
    let half = budget_mb.saturating_mul(500_000);
    format!("[worker.oci]\n  gc = true\n  gckeepstorage = {half}\n  maxUsedSpace = {half}\n")
}

/// Notes the registries whose mirrors only builders use. dockerd mirrors Docker Hub alone.
pub(super) fn note_mirrors_for_builders(builder: &mut Builder<'_, '_>) {
    let mirrors = &builder.plan.profile.dind.mirrors;
    let registries = mirrors.iter().filter(|(_, mirrors)| !mirrors.is_empty());
    let registries: Vec<String> = registries
        .map(|(registry, _)| registry.to_string())
        .collect();
    if !registries.is_empty() {
        builder.note(Reason::MirrorsForBuilders(registries));
    }
}
