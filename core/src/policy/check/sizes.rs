//! Sizes in bytes: of packets, and of dockerd's build cache.

use super::Findings;
use crate::policy::{Profile, key_path::KeyPath, values::Mtu};

/// Checks the sizes of a profile, whose path is `path`.
pub(super) fn check(path: &KeyPath, profile: &Profile, findings: &mut Findings) {
    findings.expect(
        !matches!(profile.dind.mtu, Some(Mtu::Bytes(..576))),
        path.at("dind.mtu"),
        "an IPv4 network needs at least 576 bytes (RFC 791)",
    );
    if let Some(size) = &profile.buildkit.gc.keep_storage {
        findings.expect(
            is_docker_size(size),
            path.at("buildkit.gc.keepStorage"),
            format!("`{size}` is not a valid size: expected a number and a unit, such as 20GB"),
        );
    }
}

/// Returns whether dockerd can read the size: `512`, `10GB`, `1.5g`, `20GiB`.
fn is_docker_size(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default().to_lowercase();
    digits
        .parse::<f64>()
        .is_ok_and(|n| n.is_finite() && n >= 0.0)
        && matches!(
            unit.as_str(),
            "" | "b"
                | "k"
                | "kb"
                | "kib"
                | "m"
                | "mb"
                | "mib"
                | "g"
                | "gb"
                | "gib"
                | "t"
                | "tb"
                | "tib"
        )
}
