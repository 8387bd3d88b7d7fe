//! Where the binaries are: those of the API server by envtest's convention, other tools on the path.

use crate::workspace;
use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    sync::OnceLock,
};

const DEFAULT: &str = "/usr/local/kubebuilder/bin";
const BINARIES: [&str; 2] = ["etcd", "kube-apiserver"];
/// Where `.ci/install-tools` puts what it fetches.
const FETCHED: &str = "target/tools/bin";
/// Set to make their absence a failure.
const REQUIRE: &str = "SLIPWAY_REQUIRE_APISERVER";

/// The directory of the API server's binaries; `None`, said once, when one is not to be had.
///
/// # Panics
/// When they are missing and required.
pub fn find() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let directory = directory();
        let missing: Vec<&str> = BINARIES
            .into_iter()
            .filter(|name| !directory.join(name).is_file())
            .collect();
        if missing.is_empty() {
            return kubectl().is_some().then_some(directory);
        }
        let why = format!(
            "no {} in {}; KUBEBUILDER_ASSETS names another directory",
            missing.join(", "),
            directory.display()
        );
        skip(&why);
        None
    });
    found.as_deref()
}

/// The kubectl of the assets, which need not have one, else that of `KUBECTL`, of the path, or of
/// `.ci/install-tools`; `None`, said once, when there is none.
pub fn kubectl() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let asset = directory().join("kubectl");
            if asset.is_file() {
                return Some(asset);
            }
            tool("kubectl", "KUBECTL")
        })
        .as_deref()
}

/// A tool by its variable, on the path, or where `.ci/install-tools` puts it.
pub fn tool(name: &str, variable: &str) -> Option<PathBuf> {
    let on_path = env::var_os("PATH").unwrap_or_default();
    let named = env::var_os(variable).map(PathBuf::from);
    let found = named.or_else(|| {
        let directories = env::split_paths(&on_path).chain([workspace::root().join(FETCHED)]);
        let mut candidates = directories.map(|directory| directory.join(name));
        candidates.find(|candidate| candidate.is_file())
    });
    if found.is_none() {
        skip(&format!(
            "there is no {name}: {variable} names one, or .ci/install-tools fetches it"
        ));
    }
    found
}

fn directory() -> PathBuf {
    let named = env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty());
    PathBuf::from(named.unwrap_or_else(|| DEFAULT.into()))
}

/// Says that tests are skipped.
///
/// # Panics
/// When they may not be.
pub fn skip(why: &str) {
    assert!(env::var_os(REQUIRE).is_none(), "{why}");
    // Not `eprintln!`: that is captured, and a skip should be seen.
    let _ = writeln!(
        std::io::stderr(),
        "\nSKIPPED: tests against an API server did not run: {why}\n"
    );
}
