//! The chart, rendered by helm.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{harness::Skip, workspace};

use super::assets;

/// Renders the objects of a release, those of `helm test` too.
pub fn template(release: &str, namespace: &str, values: &Value) -> Result<Vec<Value>, Skip> {
    let arguments = ["template", release, "charts/slipway", "--values=-"];
    let more = ["--kube-version=1.36", "--namespace", namespace];
    // No settings of whoever runs the tests.
    let kubeconfig = Path::new("/dev/null");
    let (text, error) = run(kubeconfig, &[&arguments[..], &more].concat(), values)?;
    assert_eq!(error, None);
    let documents = text.split("\n---\n").filter(|text| text.contains("kind:"));
    Ok(documents
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .collect())
}

/// Runs helm, which reads values from its standard input. Returns what it prints, and its errors when it fails.
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
    // It may not read it at all.
    let _ = stdin.write_all(values.to_string().as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let errors = (!output.status.success()).then(|| text(output.stderr));
    Ok((text(output.stdout), errors))
}

/// Whether it is there for `helm test` alone.
pub fn is_of_test(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"] == "test"
}

/// The object of this kind and name.
pub fn find_object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    let found = objects.iter().find(is_it);
    found.unwrap_or_else(|| panic!("the chart has no {kind} {name}"))
}

/// As one object for `kubectl`.
pub fn list(objects: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": objects})
}
