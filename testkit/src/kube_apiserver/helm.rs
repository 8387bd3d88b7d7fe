//! The chart, rendered by helm.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};

use crate::workspace;

use super::assets;

/// The helm of `HELM`, of the path, or of `.ci/install-tools`; `None`, said once, when there is none.
fn find() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| assets::tool("helm", "HELM"))
        .as_deref()
}

/// The objects of a release, those of `helm test` too; `None` where there is no helm.
pub fn template(release: &str, namespace: &str, values: &Value) -> Option<Vec<Value>> {
    let arguments = ["template", release, "charts/slipway", "--values=-"];
    let more = ["--kube-version=1.36", "--namespace", namespace];
    // No settings of whoever runs the tests.
    let kubeconfig = Path::new("/dev/null");
    let (text, error) = run(kubeconfig, &[&arguments[..], &more].concat(), values)?;
    assert_eq!(error, None);
    let documents = text.split("\n---\n").filter(|text| text.contains("kind:"));
    Some(
        documents
            .map(|text| serde_saphyr::from_str(text).unwrap())
            .collect(),
    )
}

/// Runs helm, which reads values from its standard input. What it prints, and what it says when it fails;
/// `None` where there is no helm.
pub fn run(
    kubeconfig: &Path,
    arguments: &[&str],
    values: &Value,
) -> Option<(String, Option<String>)> {
    let mut child = Command::new(find()?)
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
    Some((text(output.stdout), errors))
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
