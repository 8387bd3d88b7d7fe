//! Runs helm.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
};

use serde_json::Value;

use super::objects::{Objects, parse_stream};

pub const NAMESPACE: &str = "slipway-system";
pub const RELEASE: &str = "slipway";

/// A file of this repository.
pub fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

pub fn read(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// The helm of `HELM`, of the path, or of `.ci/install-tools`.
static HELM: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let helm = tool("helm", "HELM");
    let required = env::var_os("SLIPWAY_REQUIRE_TOOLS").is_some();
    assert!(
        helm.is_some() || !required,
        "helm is required and not there"
    );
    helm
});

/// A tool by its variable, on the path, or where `.ci/install-tools` puts it.
///
/// Tests skip what needs a tool that is not there. With `SLIPWAY_REQUIRE_TOOLS`, as in CI, a missing
/// helm is an error.
pub fn tool(name: &str, variable: &str) -> Option<PathBuf> {
    let on_path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = env::split_paths(&on_path)
        .chain([path("target/tools/bin")])
        .collect();
    let found = env::var_os(variable).map(PathBuf::from).or_else(|| {
        let candidates = directories.iter().map(|directory| directory.join(name));
        candidates.into_iter().find(|candidate| candidate.is_file())
    });
    if found.is_none() {
        // Past the test harness, which hides what tests that pass print.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {name} is not there; set {variable}, put it on the path, or run .ci/install-tools"
        );
    }
    found
}

/// Whether there is a helm; the test is over when not.
pub fn is_here() -> bool {
    HELM.is_some()
}

fn helm(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(HELM.as_ref().unwrap())
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // No cluster and no settings of whoever runs the tests.
        .env("KUBECONFIG", "/dev/null")
        .env("HELM_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// The manifests of a release with these values, as text; or what helm says against them.
pub fn template(values: &Value, more: &[&str]) -> Result<String, String> {
    let mut arguments = vec!["template", RELEASE, "charts/slipway"];
    arguments.extend(["--namespace", NAMESPACE, "--values", "-"]);
    arguments.extend(more);
    let output = helm(&arguments, &values.to_string());
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

/// The objects of a release with these values.
pub fn render(values: &Value) -> Objects {
    render_for(values, &[])
}

/// The same, with more arguments for helm.
pub fn render_for(values: &Value, more: &[&str]) -> Objects {
    let text = template(values, more).unwrap_or_else(|error| panic!("{values}: {error}"));
    Objects::new(parse_stream(&text))
}

/// What `helm lint --strict` says, as an error when it is not content.
pub fn lint(values: &Value) -> Result<(), String> {
    let arguments = ["lint", "--strict", "charts/slipway", "--values", "-"];
    let output = helm(&arguments, &values.to_string());
    output
        .status
        .success()
        .then_some(())
        .ok_or_else(|| text(output.stdout) + &text(output.stderr))
}

/// What a person reads after `helm install`.
pub fn notes(values: &Value) -> String {
    let arguments = [
        "install",
        RELEASE,
        "charts/slipway",
        "--namespace",
        NAMESPACE,
        "--dry-run=client",
        "--values",
        "-",
    ];
    let output = helm(&arguments, &values.to_string());
    assert!(output.status.success(), "{}", text(output.stderr));
    let text = text(output.stdout);
    text.split_once("\nNOTES:\n").unwrap().1.to_owned()
}
