//! Runs helm.

use std::{
    fs,
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use slipway_testkit::{
    harness::Skip,
    tools,
    workspace::{root, scratch},
};

use super::objects::{Objects, parse_stream};

/// The chart, as helm finds it in the workspace.
pub const CHART: &str = "charts/slipway";
pub const NAMESPACE: &str = "slipway-system";
pub const RELEASE: &str = "slipway";

/// Finds helm, or skips the test.
pub fn needed() -> Result<(), Skip> {
    tools::need("helm").map(drop)
}

fn helm(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(tools::find("helm").unwrap())
        .args(arguments)
        .current_dir(root())
        // Ignores the user's cluster and helm settings.
        .env("KUBECONFIG", "/dev/null")
        .env("HELM_CONFIG_HOME", scratch())
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

/// Renders the manifests of a release with these values. The error is helm's message.
pub fn template(values: &Value, more: &[&str]) -> Result<String, String> {
    let mut arguments = vec!["template", RELEASE, CHART];
    arguments.extend(["--namespace", NAMESPACE, "--values", "-"]);
    arguments.extend(more);
    rendered(helm(&arguments, &values.to_string()))
}

/// Renders the manifests of a chart as this release in this namespace. The error is helm's message.
pub fn template_as(
    chart: &str,
    release: &str,
    namespace: &str,
    values: &Value,
) -> Result<String, String> {
    let arguments = ["template", release, chart, "--namespace", namespace];
    let arguments = [&arguments[..], &["--values", "-"]].concat();
    rendered(helm(&arguments, &values.to_string()))
}

fn rendered(output: Output) -> Result<String, String> {
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

/// Copies the chart with all of `from` in one of its files replaced, and returns its path.
pub fn altered(name: &str, file: &str, from: &str, to: &str) -> String {
    let copy = scratch().join(name);
    let _ = fs::remove_dir_all(&copy);
    let mut command = Command::new("cp");
    command.arg("-R").arg(root().join(CHART)).arg(&copy);
    assert!(command.status().unwrap().success());
    let path = copy.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file}");
    fs::write(path, text.replace(from, to)).unwrap();
    copy.to_str().unwrap().to_owned()
}

/// Renders the objects of a release with these values.
pub fn render(values: &Value) -> Objects {
    render_for(values, &[])
}

/// Renders the objects with more arguments for helm.
pub fn render_for(values: &Value, more: &[&str]) -> Objects {
    let text = template(values, more).unwrap_or_else(|error| panic!("{values}: {error}"));
    Objects::new(parse_stream(&text))
}

/// Runs `helm lint --strict`. The error is its output.
pub fn lint(values: &Value) -> Result<(), String> {
    let arguments = ["lint", "--strict", "charts/slipway", "--values", "-"];
    let output = helm(&arguments, &values.to_string());
    output
        .status
        .success()
        .then_some(())
        .ok_or_else(|| text(output.stdout) + &text(output.stderr))
}

/// Renders the notes that `helm install` prints.
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
