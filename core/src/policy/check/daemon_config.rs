//! `dind.daemonConfig` and the settings that Slipway writes into daemon.json beside it.

use serde_json::Value;

use super::Findings;
use crate::policy::{Dind, key_path::KeyPath};

/// The largest daemon.json that a profile may ask for: it travels in an annotation, and all annotations of
/// a pod together may have 256 KiB.
const MAX_BYTES: usize = 32 * 1024;

/// Keys of daemon.json that have a setting of their own, or that would undo what Slipway sets.
const OWN_SETTINGS: [(&str, &str); 11] = [
    ("registry-mirrors", "use dind.registryMirrors"),
    ("mtu", "use dind.mtu"),
    ("storage-driver", "use dind.storageDriver"),
    ("log-opts", "use dind.logOpts"),
    ("builder", "use buildkit.gc"),
    ("data-root", "the cache volume is mounted there"),
    (
        "hosts",
        "runner pods set it as a flag, and dockerd refuses both",
    ),
    (
        "group",
        "runner pods set it as a flag, and dockerd refuses both",
    ),
    (
        "insecure-registries",
        "plain HTTP mirrors are added as flags, and dockerd refuses both",
    ),
    (
        "exec-root",
        "it would leave the volume that the runner shares",
    ),
    (
        "pidfile",
        "docker's image removes stale ones at the default place only",
    ),
];

/// Checks the daemon.json of a profile; `path` is that of `dind`.
pub(super) fn check(path: &KeyPath, dind: &Dind, findings: &mut Findings) {
    let config = &dind.daemon_config;
    let path = path.at("daemonConfig");
    for (key, why) in OWN_SETTINGS {
        findings.expect(!config.contains_key(key), path.clone().key(key), why);
    }
    let size = serde_json::to_string(config).map_or(0, |json| json.len());
    findings.expect(
        size <= MAX_BYTES,
        path.clone(),
        format!("{size} bytes are too many: expected at most {MAX_BYTES}"),
    );
    if let Some(Value::String(driver)) = config.get("log-driver")
        && driver != "json-file"
        && !dind.log_opts.is_empty()
    {
        findings.add(
            path.at("log-driver"),
            format!("dind.logOpts are for json-file, not for {driver}: set logOpts to {{}}"),
        );
    }
}
