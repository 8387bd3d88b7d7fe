//! The chart, rendered by helm.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{harness::Skip, workspace};

use super::assets;

/// Renders the objects of a release, including those of `helm test`.
pub fn template(release: &str, namespace: &str, values: &Value) -> Result<Vec<Value>, Skip> {
    let arguments = ["template", release, "charts/slipway", "--values=-"];
    let more = ["--kube-version=1.36", "--namespace", namespace];
    // Ignores the user's helm settings.
    let kubeconfig = Path::new("/dev/null");
    let (text, error) = run(kubeconfig, &[&arguments[..], &more].concat(), values)?;
    assert_eq!(error, None);
    let documents = text.split("\n---\n").filter(|text| text.contains("kind:"));
    Ok(documents
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .collect())
}

/// Runs helm with values on standard input. Returns its output, or its errors if it fails.
pub fn run(
    kubeconfig: &Path,
    arguments: &[&str],
    values: &Value,
) -> Result<(String, Option<String>), Skip> {
    let mut child = Command::new(assets::tool("helm")?)
        .args(arguments)
        .current_dir(workspace::root())
        .env("KUBECONFIG", kubeconfig)
        .env("HELM_CONFIG_HOME", workspace::scratch())
        .env("HELM_CACHE_HOME", workspace::scratch())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may not read its input.
    let _ = stdin.write_all(values.to_string().as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let errors = (!output.status.success()).then(|| text(output.stderr));
    Ok((text(output.stdout), errors))
}

/// Returns whether the object belongs to `helm test`.
pub fn is_of_test(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"] == "test"
}

/// Returns the object of this kind and name.
pub fn find_object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    let found = objects.iter().find(is_it);
    found.unwrap_or_else(|| panic!("the chart has no {kind} {name}"))
}

/// Returns the objects as one list for `kubectl`.
pub fn list(objects: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": objects})
}
