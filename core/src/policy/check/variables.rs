//! Environment variables.

use super::Findings;
use crate::{
    k8s::names::is_env_var_name,
    policy::{Profile, key_path::KeyPath},
};

/// Checks the names of the variables of a profile, whose path is `path`.
pub(super) fn check(path: &KeyPath, profile: &Profile, findings: &mut Findings) {
    let all = [
        ("dind.env", &profile.dind.env),
        ("buildkit.env", profile.buildkit.env.variables()),
    ];
    for (key, variables) in all {
        for name in variables.keys() {
            findings.expect(
                is_env_var_name(name),
                path.at(key).key(name),
                "not a valid name of an environment variable",
            );
        }
    }
}
