//! `slipway inject`: manifests as the webhook would patch their pods.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use slipway_core::{
    admission::Evaluation,
    decide::Outcome,
    explain::{
        Item, Subject,
        change::{Injected, inject_all},
    },
    manifest::documents::to_yaml,
};

use super::{
    EXIT_CODES,
    facts::{Facts, FactsArgs},
    input::{InputArgs, note_caveats},
    output::{Color, Paint, count, note, print},
};

const AFTER_HELP: &str = "\
Examples:
  slipway inject -f runners.yaml | kubectl apply -f -
  slipway inject -f runners.yaml -o diff
  kubectl get pod build-x5qzn -n ci -o yaml | slipway inject -f -
  slipway inject -f runners.yaml --cluster -o patch
  slipway inject -f runners.yaml --nodes <(kubectl get nodes -o yaml) --policy policy.yaml -o patch";

/// Print manifests with their runner pods as the webhook would change them
///
/// Pods are found in Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers, Jobs,
/// CronJobs, PodTemplates and Lists, and in the Actions Runner Controllers' AutoscalingRunnerSet, EphemeralRunnerSet,
/// EphemeralRunner and RunnerSet. In the place of a RunnerDeployment or a Runner, which are no templates of their
/// pods, stands the pod that the controller makes of it. All else passes through as it is, byte for byte.
///
/// One line a pod on standard error says what was decided.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct InjectArgs {
    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    by: FactsArgs,

    /// What to print
    #[arg(short, long, value_enum, default_value_t, env = "SLIPWAY_OUTPUT")]
    output: Output,

    /// When to colour a diff
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The documents; those without a changed pod byte for byte as they were
    #[default]
    Yaml,
    /// The documents as one JSON document; several as a List
    Json,
    /// The changes alone: an RFC 6902 array for each pod that changes, `[]` when none does
    Patch,
    /// The changes as a unified diff of the YAML
    Diff,
}

pub(super) fn run(args: &InjectArgs) -> anyhow::Result<()> {
    let sources = args.input.sources()?;
    let items = args.input.items(&sources)?;
    let facts = args.by.facts(&items)?;
    note_caveats(&items);
    let documents = inject_all(&items, facts.cluster(), |title, evaluation| {
        note(&format!("{title}: {}", summary(evaluation)));
    })?;
    let text = match args.output {
        Output::Yaml => yaml(&documents),
        Output::Json => as_json(&documents)?,
        Output::Patch => patches(&documents)?,
        Output::Diff => diff(&documents, args.color.paint()),
    };
    print(&text)?;
    Ok(())
}

/// The changes of all documents as a unified diff.
pub(super) fn changes(items: &[Item<'_>], facts: &Facts, paint: Paint) -> anyhow::Result<String> {
    Ok(diff(&inject_all(items, facts.cluster(), |_, _| ())?, paint))
}

/// What was decided, in a line.
fn summary(evaluation: &Evaluation<'_>) -> String {
    let decision = &evaluation.decision;
    match &decision.outcome {
        Outcome::Leave(reason) => format!("left alone: {reason}"),
        Outcome::Apply(plan) => format!(
            "{} (profile {}): {}",
            plan.strategy,
            decision.profile.unwrap_or_default(),
            count(evaluation.changes.len(), "change")
        ),
    }
}

/// The document as YAML, with whether it brings its own `---`.
fn document_yaml(injected: &Injected<'_>) -> (String, bool) {
    let document = &injected.item.document;
    let rendered: Vec<&Subject> = injected
        .item
        .subjects
        .iter()
        .filter(|subject| subject.place.rendered)
        .collect();
    let content = match &injected.content {
        Some(content) if !rendered.is_empty() || !injected.patches.is_empty() => content,
        _ => return (document.text.to_owned(), document.is_marked()),
    };
    let head = document.head();
    let mut text = head.to_owned();
    for subject in rendered {
        let (kind, name) = (&subject.place.kind, &subject.place.name);
        text.extend([
            "# The pod that the controller makes of ",
            kind,
            " ",
            name,
            ".\n",
        ]);
    }
    text.push_str(&to_yaml(content));
    (text, head.lines().any(|line| line.starts_with("---")))
}

fn yaml(documents: &[Injected<'_>]) -> String {
    let mut stream = String::new();
    for document in documents {
        let (text, marked) = document_yaml(document);
        if !stream.is_empty() {
            if !stream.ends_with('\n') {
                stream.push('\n');
            }
            if text.starts_with('%') {
                stream.push_str("...\n");
            } else if !marked {
                stream.push_str("---\n");
            }
        }
        stream.push_str(&text);
    }
    stream
}

fn as_json(documents: &[Injected<'_>]) -> anyhow::Result<String> {
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

fn patches(documents: &[Injected<'_>]) -> anyhow::Result<String> {
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

fn diff(documents: &[Injected<'_>], paint: Paint) -> String {
    let diffs = documents.iter().flat_map(Injected::diffs);
    diffs.map(|(_, diff)| paint.diff(&diff)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use json_patch::Patch;

    use super::*;
    use crate::cli::input::Source;

    #[derive(Parser)]
    struct Wrapper {
        #[command(flatten)]
        input: InputArgs,
    }

    /// The outputs of a stream with this patch for each pod.
    fn outputs(stream: &str, operations: &Value) -> [String; 4] {
        let args = Wrapper::parse_from(["x", "-f", "-"]).input;
        let sources = [Source::new("f.yaml", stream)];
        let items = args.items(&sources).unwrap();
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
            as_json(&documents).unwrap(),
            patches(&documents).unwrap(),
            diff(&documents, Paint::NONE),
        ]
    }

    const MIXED: &str = "# A service.\nkind:   Service # odd spacing\napiVersion: v1\n---\n# A pod.\nkind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec:\n  containers: []\n---\nkind: ConfigMap\napiVersion: v1\ndata: {mode: 0644}";

    #[test]
    fn a_changed_document_is_written_anew_and_its_neighbours_are_not_touched() {
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
    fn a_stream_without_changes_is_the_same_stream() {
        let [yaml, json, patch, diff] = outputs(MIXED, &json!([]));
        assert_eq!(yaml, MIXED);
        assert_eq!(patch, "[]\n");
        assert_eq!(diff, "");
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["kind"], "List");
        assert_eq!(json["items"][2]["data"]["mode"], 420);
    }

    #[test]
    fn one_document_is_one_json_document() {
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
    fn a_rendered_pod_says_so() {
        let stream = "# Runners.\n---\napiVersion: actions.summerwind.dev/v1alpha1\nkind: Runner\nmetadata: {name: r}\nspec: {organization: acme}\n";
        let [yaml, ..] = outputs(stream, &json!([]));
        assert!(
            yaml.starts_with("# Runners.\n---\n# The pod that the controller makes of Runner r.\napiVersion: v1\nkind: Pod\n"),
            "{yaml}"
        );
    }
}
