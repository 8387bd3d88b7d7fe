//! Finds the programs of the API server, by envtest's convention.

use std::{
    env,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::{harness::Skip, tools};

const DEFAULT: &str = "/usr/local/kubebuilder/bin";
const BINARIES: [&str; 2] = ["etcd", "kube-apiserver"];
/// When it is set, a missing program fails the tests.
const REQUIRE: &str = "SLIPWAY_REQUIRE_APISERVER";

/// Finds the directory of the API server's programs.
///
/// # Panics
/// If one is missing and they are required.
pub fn find() -> Result<&'static Path, Skip> {
    static FOUND: OnceLock<Result<PathBuf, Skip>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let directory = directory();
        let missing: Vec<&str> = BINARIES
            .into_iter()
            .filter(|name| !directory.join(name).is_file())
            .collect();
        if !missing.is_empty() {
            return Err(skip(&format!(
                "{} not in {}; KUBEBUILDER_ASSETS names another directory",
                missing.join(" and "),
                directory.display()
            )));
        }
        kubectl().map(|_| directory)
    });
    found.as_deref().map_err(Clone::clone)
}

/// Finds kubectl: in the directory of the API server if it is there, otherwise as [`tools::find`] does.
pub fn kubectl() -> Result<PathBuf, Skip> {
    let asset = directory().join("kubectl");
    if asset.is_file() {
        return Ok(asset);
    }
    tool("kubectl")
}

/// Finds another program that these tests need.
pub fn tool(name: &str) -> Result<PathBuf, Skip> {
    tools::find(name).ok_or_else(|| {
        skip(&format!(
            "{name} is not installed; .ci/install-tools fetches it"
        ))
    })
}

fn directory() -> PathBuf {
    let named = env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty());
    PathBuf::from(named.unwrap_or_else(|| DEFAULT.into()))
}

fn skip(why: &str) -> Skip {
    assert!(
        env::var_os(REQUIRE).is_none(),
        "{REQUIRE} is set, but {why}"
    );
    Skip::because(why)
}
