//! Where the binaries are, by envtest's convention.

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    sync::OnceLock,
};

const DEFAULT: &str = "/usr/local/kubebuilder/bin";
const BINARIES: [&str; 3] = ["etcd", "kube-apiserver", "kubectl"];
/// Set to make their absence a failure.
const REQUIRE: &str = "SLIPWAY_REQUIRE_APISERVER";

/// The directory of the binaries; `None`, said once, when they are not to be had.
///
/// # Panics
/// When they are missing and required.
pub fn find() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let named = env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty());
        let directory = PathBuf::from(named.unwrap_or_else(|| DEFAULT.into()));
        let missing: Vec<&str> = BINARIES
            .into_iter()
            .filter(|name| !directory.join(name).is_file())
            .collect();
        if missing.is_empty() {
            return Some(directory);
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
