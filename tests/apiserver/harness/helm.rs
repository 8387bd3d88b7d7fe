//! The chart, rendered by helm.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};

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
    let mut child = Command::new(find()?)
        .args([
            "template",
            release,
            "charts/slipway",
            "--namespace",
            namespace,
        ])
        .args(["--kube-version", "1.36", "--values", "-"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // No settings of whoever runs the tests.
        .env("KUBECONFIG", "/dev/null")
        .env("HELM_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(values.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "helm template: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let documents = text.split("\n---\n").filter(|text| text.contains("kind:"));
    Some(
        documents
            .map(|text| serde_saphyr::from_str(text).unwrap())
            .collect(),
    )
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
