//! The program, run as people run it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// The exit code for bad input.
pub const BAD_INPUT: i32 = 2;
/// An example whose pod the webhook leaves unchanged.
pub const UNTOUCHED: &str = "examples/pods/nginx.yaml";
/// An example whose pod the webhook patches.
pub const RUNNER: &str = "examples/pods/scale-set-dind.yaml";

/// Returns the program's command, run in the repository and without settings from the environment.
pub fn slipway(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    for name in ["NODES", "NAMESPACES", "POLICY", "NAMESPACE", "OUTPUT"] {
        command.env_remove(format!("SLIPWAY_{name}"));
    }
    command.env_remove("NO_COLOR");
    command
}

/// The exit code and the output of a command.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub fn run(args: &[&str]) -> Ran {
    slipway(args).stdin(Stdio::null()).output().unwrap().into()
}

pub fn run_with_stdin(args: &[&str], stdin: &str) -> Ran {
    let mut child = slipway(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may exit before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap().into()
}

/// Writes a file, and returns its path.
pub fn file(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Lists the example files in a folder.
pub fn examples(folder: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(folder);
    let paths = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
        .iter()
        .map(|path| path.to_str().unwrap().to_owned())
        .collect()
}

/// Parses the documents of a YAML stream.
pub fn yaml(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}
