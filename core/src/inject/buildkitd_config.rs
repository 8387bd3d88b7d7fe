//! The registries' part of `buildkitd.toml`: BuildKit reads none of dockerd's flags.
//!
//! The format is that of BuildKit's docs/buildkitd.toml.md. A mirror is a host there, and how it is reached
//! is a property of that host.

use serde_json::json;

use super::{builder::Builder, settings};

/// Returns the mirrors of Docker Hub that respond, as tables of `buildkitd.toml`; empty where there are none.
pub(super) fn registries(builder: &Builder<'_, '_>) -> String {
    let plan = builder.plan;
    let mirrors = settings::live_mirrors(&plan.profile.dind, plan.dead_mirrors);
    if mirrors.is_empty() {
        return String::new();
    }
    let hosts: Vec<&str> = mirrors.iter().map(|mirror| mirror.host()).collect();
    let plain_http = mirrors
        .iter()
        .filter(|mirror| mirror.is_plain_http())
        .map(|mirror| format!("[registry.\"{}\"]\n  http = true\n", mirror.host()));
    let hub = format!("[registry.\"docker.io\"]\n  mirrors = {}\n", json!(hosts));
    std::iter::once(hub).chain(plain_http).collect()
}
