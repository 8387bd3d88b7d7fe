//! Golden tests of whole decisions: each file of `core/tests/golden/` is one case, with policy, nodes,
//! namespace, pod, and the decision and patch that follow.
//!
//! `SLIPWAY_BLESS=1 cargo test -p slipway-core --test decisions golden` rewrites what is expected; read the diff.

use std::{collections::BTreeSet, fs, path::Path};

use imara_diff::{Algorithm, BasicLineDiffPrinter, Diff, InternedInput, UnifiedDiffConfig};
use serde_json::{Value, json};
use slipway_core::{
    admission::{Draft, Evaluation},
    cache::claims::LeaseResult,
    decide::Cluster,
    dockerd::StartScript,
    k8s::namespace::{Namespace, Namespaces},
    nodes::Snapshot,
    pod::Pod,
    policy::Policy,
    reason::Reason,
};

const BLESS: &str = "SLIPWAY_BLESS=1 cargo test -p slipway-core --test decisions golden";

struct Case {
    policy: Policy,
    nodes: Option<Snapshot>,
    namespace: String,
    namespaces: Namespaces,
    pod: Value,
    dead_mirrors: Vec<String>,
    lease: Option<LeaseResult>,
}

fn yaml(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A value that stands in the case, or the file of `examples/` that it names.
fn resolve(value: &Value) -> Value {
    match value.as_str() {
        Some(file) => yaml(
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../examples")
                .join(file),
        ),
        None => value.clone(),
    }
}

impl Case {
    fn read(case: &Value) -> Self {
        let policy = match &case["policy"] {
            Value::Null => Policy::default(),
            policy => Policy::parse(&resolve(policy).to_string()).unwrap(),
        };
        let nodes = match resolve(&case["nodes"]) {
            Value::Null => None,
            Value::Array(nodes) => Some(nodes),
            list => Some(list["items"].as_array().unwrap().clone()),
        };
        let spec = &case["namespace"];
        let namespace = spec["name"].as_str().unwrap_or("ci").to_owned();
        let labels = match &spec["labels"] {
            Value::Null => json!({"slipway.io/inject": "enabled"}),
            labels => labels.clone(),
        };
        let known = (spec["unknown"] != json!(true)).then(|| Namespace {
            name: namespace.clone(),
            labels: serde_json::from_value(labels).unwrap(),
            limits: match &spec["limits"] {
                Value::Null => Vec::new(),
                limits => serde_json::from_value(limits.clone()).unwrap(),
            },
            quotas: match &spec["quotas"] {
                Value::Null => BTreeSet::new(),
                quotas => serde_json::from_value(quotas.clone()).unwrap(),
            },
        });
        Self {
            policy,
            nodes: nodes.map(|nodes| {
                Snapshot::new(
                    nodes
                        .into_iter()
                        .map(|node| serde_json::from_value(node).unwrap()),
                )
            }),
            namespace,
            namespaces: Namespaces::new(known),
            pod: resolve(&case["pod"]),
            dead_mirrors: serde_json::from_value(case["deadMirrors"].clone()).unwrap_or_default(),
            lease: match &case["claim"] {
                Value::Null => None,
                Value::String(name) => Some(LeaseResult::Leased {
                    claim: name.clone(),
                    lease: "705ab4f5-6393-11e8-b7cc-42010a800002".to_owned(),
                    warm: true,
                }),
                _ => Some(LeaseResult::Refused(Reason::PoolExhausted)),
            },
        }
    }

    fn evaluate<T>(&self, pod: &Value, look: impl FnOnce(&Evaluation<'_>) -> T) -> T {
        let text = pod.to_string();
        let cluster = Cluster {
            nodes: self.nodes.as_ref(),
            namespaces: &self.namespaces,
            policy: &self.policy,
            dead_mirrors: &self.dead_mirrors,
            claims: None,
        };
        let pod = Pod::parse(text.as_bytes()).unwrap();
        let draft = Draft::new(&pod, &self.namespace, cluster);
        let draft = match &self.lease {
            Some(lease) => draft.with_lease(&pod, lease.clone()),
            None => draft,
        };
        look(&draft.finish(&pod))
    }
}

/// The start script is the same in every patch, and tested on its own: here stands its name.
fn shorten(value: &mut Value) {
    match value {
        Value::String(text)
            if StartScript::all()
                .iter()
                .any(|script| script.text() == text) =>
        {
            "<start script>".clone_into(text);
        }
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

fn outcome(evaluation: &Evaluation<'_>) -> Value {
    let decision = &evaluation.decision;
    let findings: Vec<String> = decision
        .findings
        .iter()
        .map(|f| {
            let sign = if f.supports { "+" } else { "-" };
            format!("{sign} {}: {}", f.strategy, f.reason.code())
        })
        .collect();
    let mut patch = json!(evaluation.patch.to_patch().unwrap());
    shorten(&mut patch);
    json!({
        "strategy": decision.strategy().as_str(),
        "reason": decision.main_reason().map_or("none", Reason::code),
        "findings": findings,
        "notes": evaluation.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "warnings": evaluation.warnings(),
        "audit": evaluation.audit_annotations(),
        "patch": patch,
    })
}

/// What must hold of every patch, whatever the case expects.
fn check_invariants(name: &str, case: &Case, evaluation: &Evaluation<'_>) {
    let mut patched = case.pod.clone();
    json_patch::patch(&mut patched, &evaluation.patch.to_patch().unwrap())
        .unwrap_or_else(|error| panic!("{name}: the patch does not apply: {error}"));
    case.evaluate(&patched, |again| {
        assert!(
            again.patch.is_empty(),
            "{name}: deciding again adds {:?}",
            again.patch
        );
    });
}

/// Shows what a case would have to say, as `diff -u` does.
fn unified_diff(name: &str, written: &str, found: &str) -> String {
    let input = InternedInput::new(written, found);
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let printer = BasicLineDiffPrinter(&input.interner);
    let hunks = diff.unified_diff(&printer, UnifiedDiffConfig::default(), &input);
    format!("--- core/tests/golden/{name}.yaml\n+++ found\n{hunks}")
}

#[test]
fn every_case_comes_out_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bless = std::env::var_os("SLIPWAY_BLESS").is_some();
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 60, "only {} cases", paths.len());
    let mut wrong = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut file = yaml(&path);
        let case = Case::read(&file);
        let actual = case.evaluate(&case.pod, |evaluation| {
            check_invariants(&name, &case, evaluation);
            outcome(evaluation)
        });
        if file["expect"] == actual {
            continue;
        }
        if bless {
            file["expect"] = actual;
            fs::write(&path, serde_saphyr::to_string(&file).unwrap()).unwrap();
        } else {
            let written = serde_saphyr::to_string(&file).unwrap();
            file["expect"] = actual;
            let found = serde_saphyr::to_string(&file).unwrap();
            wrong.push(unified_diff(&name, &written, &found));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of the cases come out differently. If they should, {BLESS} writes what was found.\n\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
