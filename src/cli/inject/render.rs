//! The outputs of `slipway inject`: YAML, JSON, patches and a diff.

use serde_json::{Value, json};
use slipway_core::{
    explain::{Subject, change::Injected},
    manifest::documents::to_yaml,
};

use crate::cli::output::Paint;

/// A document as YAML.
struct Yaml {
    text: String,
    /// True when the text has its own `---`.
    is_marked: bool,
}

fn document_yaml(injected: &Injected<'_>) -> Yaml {
    let document = &injected.item.document;
    let rendered: Vec<&Subject> = injected
        .item
        .subjects
        .iter()
        .filter(|subject| subject.location.rendered)
        .collect();
    let content = match &injected.content {
        Some(content) if !rendered.is_empty() || !injected.patches.is_empty() => content,
        _ => {
            return Yaml {
                text: document.text.to_owned(),
                is_marked: document.is_marked(),
            };
        }
    };
    let head = document.head();
    let mut text = head.to_owned();
    for subject in rendered {
        let (kind, name) = (&subject.location.kind, &subject.location.name);
        text.extend([
            "# The pod that the controller creates from ",
            kind,
            " ",
            name,
            ".\n",
        ]);
    }
    text.push_str(&to_yaml(content));
    Yaml {
        text,
        is_marked: head.lines().any(|line| line.starts_with("---")),
    }
}

/// Renders the documents as a stream. Those without a changed pod stay the same, byte for byte.
pub(super) fn yaml(documents: &[Injected<'_>]) -> String {
    let mut stream = String::new();
    for document in documents {
        let Yaml { text, is_marked } = document_yaml(document);
        if !stream.is_empty() {
            if !stream.ends_with('\n') {
                stream.push('\n');
            }
            if text.starts_with('%') {
                stream.push_str("...\n");
            } else if !is_marked {
                stream.push_str("---\n");
            }
        }
        stream.push_str(&text);
    }
    stream
}

/// Renders the documents as one JSON document.
pub(super) fn json(documents: &[Injected<'_>]) -> anyhow::Result<String> {
    let contents: Vec<&Value> = documents
        .iter()
        .filter_map(|d| d.content.as_ref())
        .collect();
    let text = match contents.as_slice() {
        [only] => serde_json::to_string_pretty(only),
        several => serde_json::to_string_pretty(
            &json!({"apiVersion": "v1", "kind": "List", "items": several}),
        ),
    };
    Ok(text? + "\n")
}

/// Renders the patches alone.
pub(super) fn patches(documents: &[Injected<'_>]) -> anyhow::Result<String> {
    let mut text = String::new();
    for (_, patch) in documents.iter().flat_map(|document| &document.patches) {
        text.push_str(&serde_json::to_string_pretty(patch)?);
        text.push('\n');
    }
    Ok(if text.is_empty() {
        "[]\n".to_owned()
    } else {
        text
    })
}

/// Renders the changes as a unified diff.
pub(super) fn diff(documents: &[Injected<'_>], paint: Paint) -> String {
    let diffs = documents.iter().flat_map(Injected::diffs);
    diffs.map(|(_, diff)| paint.diff(&diff)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use json_patch::Patch;

    use super::*;
    use crate::cli::input::{InputArgs, TextFile};

    #[derive(Parser)]
    struct Wrapper {
        #[command(flatten)]
        input: InputArgs,
    }

    /// Returns all outputs for a stream in which each pod gets this patch.
    fn outputs(stream: &str, operations: &Value) -> [String; 4] {
        let args = Wrapper::parse_from(["x", "-f", "-"]).input;
        let files = [TextFile {
            name: "f.yaml".to_owned(),
            text: stream.to_owned(),
        }];
        let items = args.items(&files).unwrap();
        let patch: Patch = serde_json::from_value(operations.clone()).unwrap();
        let documents: Vec<_> = items
            .iter()
            .map(|item| {
                let mut injected = Injected::new(item);
                for subject in &item.subjects {
                    injected.apply(subject, &patch).unwrap();
                }
                injected
            })
            .collect();
        [
            yaml(&documents),
            json(&documents).unwrap(),
            patches(&documents).unwrap(),
            diff(&documents, Paint::NONE),
        ]
    }

    const MIXED: &str = "# A service.\nkind:   Service # odd spacing\napiVersion: v1\n---\n# A pod.\nkind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec:\n  containers: []\n---\nkind: ConfigMap\napiVersion: v1\ndata: {mode: 0644}";

    #[test]
    fn only_changed_documents_are_rewritten() {
        let patch = json!([{"op": "add", "path": "/metadata/annotations", "value": {"x": "z"}}]);
        let [yaml, ..] = outputs(MIXED, &patch);
        assert_eq!(
            yaml,
            MIXED.replace(
                "metadata: {name: a}\nspec:\n  containers: []\n",
                "metadata:\n  name: a\n  annotations:\n    x: z\nspec:\n  containers: []\n"
            )
        );
    }

    #[test]
    fn a_stream_without_changes_stays_the_same() {
        let [yaml, json, patch, diff] = outputs(MIXED, &json!([]));
        assert_eq!(yaml, MIXED);
        assert_eq!(patch, "[]\n");
        assert_eq!(diff, "");
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["kind"], "List");
        assert_eq!(json["items"][2]["data"]["mode"], 420);
    }

    #[test]
    fn a_single_document_is_not_wrapped_in_a_list() {
        let [_, json, ..] = outputs("{\"kind\": \"Pod\", \"spec\": {}}", &json!([]));
        assert_eq!(json, "{\n  \"kind\": \"Pod\",\n  \"spec\": {}\n}\n");
    }

    #[test]
    fn a_diff_names_the_file_and_the_object() {
        let stream = "kind: List\nitems:\n- kind: Deployment\n  metadata: {name: web, namespace: ci}\n  spec: {template: {spec: {hostname: a}}}\n";
        let patch = json!([{"op": "replace", "path": "/spec/hostname", "value": "b"}]);
        let [.., patches, diff] = outputs(stream, &patch);
        assert_eq!(
            diff,
            "--- f.yaml Deployment ci/web\n+++ f.yaml Deployment ci/web (injected)\n@@ -5,4 +5,4 @@\n spec:\n   template:\n     spec:\n-      hostname: a\n+      hostname: b\n"
        );
        assert!(patches.contains("\"/items/0/spec/template/spec/hostname\""));
    }

    #[test]
    fn a_rendered_pod_has_a_comment() {
        let stream = "# Runners.\n---\napiVersion: actions.summerwind.dev/v1alpha1\nkind: Runner\nmetadata: {name: r}\nspec: {organization: acme}\n";
        let [yaml, ..] = outputs(stream, &json!([]));
        assert!(
            yaml.starts_with("# Runners.\n---\n# The pod that the controller creates from Runner r.\napiVersion: v1\nkind: Pod\n"),
            "{yaml}"
        );
    }
}
