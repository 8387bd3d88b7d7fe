//! The files of this repository, and what cargo built from it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Returns the repository's directory.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Returns the path of a file in the repository.
pub fn path(relative: &str) -> PathBuf {
    root().join(relative)
}

/// Reads a file in the repository.
pub fn read(path: &str) -> String {
    fs::read_to_string(self::path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Parses a YAML file in the repository.
pub fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the program `slipway`, which cargo builds before the tests and benchmarks that run it.
pub fn program() -> PathBuf {
    let program = built().join("slipway");
    assert!(program.exists(), "{} is not built", program.display());
    program
}

/// Returns a directory for files of this test binary or benchmark.
pub fn scratch() -> PathBuf {
    let this = env::current_exe().unwrap();
    let stem = this.file_stem().unwrap().to_string_lossy();
    // cargo adds a hash to the names of test binaries and benchmarks.
    let name = stem.rsplit_once('-').map_or(&*stem, |(name, _)| name);
    let dir = built().with_file_name("tmp").join(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Returns the directory of programs of this profile, such as `target/debug`.
fn built() -> PathBuf {
    let this = env::current_exe().unwrap();
    let dir = this.parent().unwrap();
    // Test binaries and benchmarks are one level below it.
    let dir = if dir.ends_with("deps") {
        dir.parent().unwrap()
    } else {
        dir
    };
    dir.to_owned()
}
