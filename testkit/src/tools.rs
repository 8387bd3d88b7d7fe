//! Programs that tests need and a machine may lack.

use std::{env, path::PathBuf};

use crate::{harness::Skip, workspace};

/// Finds a program: by the variable with its name (`HELM` for `helm`), on the path, or where
/// `.ci/install-tools` puts it.
pub fn find(name: &str) -> Option<PathBuf> {
    if let Some(named) = env::var_os(name.to_uppercase().replace('-', "_")) {
        return Some(named.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([workspace::root().join("target/tools/bin")])
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

/// Finds a program that CI installs.
///
/// # Panics
/// If it is missing and `SLIPWAY_REQUIRE_TOOLS=1` is set.
pub fn need(name: &str) -> Result<PathBuf, Skip> {
    find(name).ok_or_else(|| Skip::lacking(format_args!("{name} is not installed")))
}
