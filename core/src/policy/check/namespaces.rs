//! Which namespaces get which profile.

use super::Findings;
use crate::policy::{DEFAULT_PROFILE, PolicyFile, key_path::KeyPath};

/// Checks the rules for namespaces; `path` is that of their list.
pub(super) fn check(path: &KeyPath, file: &PolicyFile, findings: &mut Findings) {
    for (index, rule) in file.namespaces.iter().enumerate() {
        let path = path.clone().index(index);
        if rule.profile != DEFAULT_PROFILE && !file.profiles.contains_key(&rule.profile) {
            let mut known: Vec<&str> = file.profiles.keys().map(String::as_str).collect();
            if !known.contains(&DEFAULT_PROFILE) {
                known.insert(0, DEFAULT_PROFILE);
            }
            findings.add(
                path.at("profile"),
                format!("no profile `{}`; known: {}", rule.profile, known.join(", ")),
            );
        }
        findings.expect(
            !rule.names.is_empty(),
            path.at("names"),
            "expected one name or more",
        );
    }
}
