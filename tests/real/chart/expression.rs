//! The match condition, evaluated: it matches every pod that Slipway recognises.

use std::{collections::BTreeMap, fs};

use cel::{Context, Program, Value as CelValue};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Map, Value, json};
use slipway_core::{pod::Pod, policy::Policy, recognise::recognise};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
    workspace::path,
};

use super::helm::{self, render};

/// Renders the match condition of a release with this policy.
struct Condition {
    policy: Policy,
    program: Program,
    text: String,
}

impl Condition {
    fn of(policy: &Value) -> Self {
        let objects = render(&json!({"policy": policy}));
        let text = objects.expression().unwrap().to_owned();
        Self {
            policy: Policy::parse(objects.policy()).unwrap(),
            program: Program::compile(&text).unwrap_or_else(|error| panic!("{error}\n{text}")),
            text,
        }
    }

    fn lets_through(&self, pod: &Value) -> bool {
        let mut context = Context::default();
        context.add_variable("object", pod).unwrap();
        match self.program.execute(&context) {
            Ok(CelValue::Bool(answer)) => answer,
            other => panic!("{other:?} for {pod}\n{}", self.text),
        }
    }

    /// Returns whether Slipway itself recognises the pod.
    fn is_runner(&self, pod: &Value) -> bool {
        let text = pod.to_string();
        let pod = Pod::parse(text.as_bytes()).unwrap();
        recognise(&pod, self.policy.recognisers()).is_some()
    }

    fn check(&self, pod: &Value) -> bool {
        let is_runner = self.is_runner(pod);
        assert!(
            !is_runner || self.lets_through(pod),
            "kept from Slipway: {pod}\n{}",
            self.text
        );
        is_runner
    }
}

/// Lists the YAML files in a directory, by name.
fn files(directory: &str) -> Vec<(String, Value)> {
    let mut files: Vec<(String, Value)> = fs::read_dir(path(directory))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (
                name,
                serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap(),
            )
        })
        .collect();
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    files
}

/// Returns a value of a golden case, or the file in `examples/` that it names.
fn resolve(value: &Value) -> Value {
    match value.as_str() {
        Some(file) => {
            let text = fs::read_to_string(path("examples").join(file)).unwrap();
            serde_saphyr::from_str(&text).unwrap()
        }
        None => value.clone(),
    }
}

/// Returns a pod as the API server stores it, without empty and null fields.
fn as_stored(value: &Value) -> Value {
    let is_there = |value: &Value| {
        !(value.is_null()
            || value.as_object().is_some_and(Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty))
    };
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), as_stored(value)))
            .filter(|(_, value)| is_there(value))
            .collect(),
        Value::Array(items) => items.iter().map(as_stored).collect(),
        other => other.clone(),
    }
}

fn every_runner_pod_of_the_examples_matches() -> Outcome {
    helm::needed()?;
    let condition = Condition::of(&json!({}));
    let mut runners = 0;
    for (name, pod) in files("examples/pods") {
        let is_runner = condition.check(&pod);
        runners += usize::from(is_runner);
        // The reverse is not required, but shows that the condition is useful.
        assert_eq!(condition.lets_through(&pod), is_runner, "{name}");
    }
    assert!(runners >= 8, "only {runners}");
    Ok(())
}

fn every_runner_pod_of_the_golden_cases_matches_under_its_policy() -> Outcome {
    helm::needed()?;
    let mut conditions: BTreeMap<String, Condition> = BTreeMap::new();
    let mut runners = 0;
    for (name, case) in files("core/tests/golden") {
        let policy = match resolve(&case["policy"]) {
            Value::Null => json!({}),
            policy => policy,
        };
        let condition = conditions
            .entry(policy.to_string())
            .or_insert_with(|| Condition::of(&policy));
        let pod = as_stored(&resolve(&case["pod"]));
        runners += usize::from(condition.check(&pod));
        assert!(condition.text.len() < 20_000, "{name}");
    }
    assert!(runners > 80, "only {runners}");
    Ok(())
}

fn a_disabled_system_is_not_in_the_condition() -> Outcome {
    helm::needed()?;
    let text = |policy: Value| Condition::of(&policy).text;
    assert!(text(json!({})).contains("jenkins/label"));
    let off = text(json!({"recognisers": [{"name": "jenkins", "enabled": false}]}));
    assert!(!off.contains("jenkins") && off.contains("tekton.dev/taskRun"));
    let replaced = text(
        json!({"recognisers": [{"name": "jenkins", "runnerContainers": ["*"], "anyOf": [{"labels": {"mine": null}}]}]}),
    );
    assert!(!replaced.contains("jenkins/label") && replaced.contains("\"mine\""));
    Ok(())
}

fn quotes_and_patterns_in_a_policy_are_escaped() -> Outcome {
    helm::needed()?;
    let condition = Condition::of(&json!({"recognisers": [
        {"name": "a", "runnerContainers": ["*"], "anyOf": [{"env": {"A": "\"'\\ \n<&"}}, {"image": "a.b/*+(c):*"}]}]}));
    let pod = |env: &str, image: &str| {
        json!({"metadata": {"name": "a"}, "spec": {"containers": [
        {"name": "a", "image": image, "env": [{"name": "A", "value": env}]}]}})
    };
    assert!(condition.check(&pod("\"'\\ \n<&", "x")));
    assert!(condition.check(&pod("x", "a.b/d+(c):1")));
    let other = pod("x", "a-b/dd(c):1");
    assert!(!condition.check(&other) && !condition.lets_through(&other));
    Ok(())
}

fn a_pod_with_a_duplicate_variable_still_matches() -> Outcome {
    helm::needed()?;
    let condition = Condition::of(
        &json!({"recognisers": [{"name": "a", "runnerContainers": ["*"],
        "anyOf": [{"labels": {"a": null}}], "noneOf": [{"env": {"X": "1"}}, {"env": {"Y": null}}]}]}),
    );
    let pod = |env: Value| json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "env": env}]}});
    let twice = pod(json!([{"name": "X", "value": "1"}, {"name": "X", "value": "2"}]));
    assert!(condition.check(&twice));
    let unwanted = pod(json!([{"name": "Y", "value": "1"}]));
    assert!(!condition.check(&unwanted) && !condition.lets_through(&unwanted));
    Ok(())
}

/// Returns a policy that uses every kind of mark.
fn marks_of_all_kinds() -> Value {
    json!({"recognisers": [
        {"name": "jenkins", "enabled": false},
        {"name": "a", "runnerContainers": ["*"],
            "anyOf": [{"labels": {"a": "1", "b": null}}, {"env": {"X": "1"}}, {"image": "*/ci:*"}],
            "noneOf": [{"labels": {"c": "1"}}, {"env": {"Y": null}}]},
        {"name": "b", "runnerContainers": ["main"],
            "anyOf": [{"labels": {"a": ""}, "env": {"X": null}}, {"env": {"Z": ""}, "image": "x"}],
            "noneOf": [{"env": {"Y": "1"}}, {"image": "*no*"}, {"labels": {"d": null}, "env": {"X": "2"}}]},
    ]})
}

fn pods() -> impl Strategy<Value = Value> {
    let text = || prop::sample::select(vec!["", "1", "2"]);
    let labels = prop::collection::btree_map(
        prop::sample::select(vec!["a", "b", "c", "d", "actions-runner", "jenkins/label"]),
        text(),
        0..4,
    );
    let annotations = prop::collection::btree_map(
        prop::sample::select(vec!["slipway.io/runner-container", "other"]),
        prop::sample::select(vec!["main", "nobody"]),
        0..2,
    );
    let env = prop::collection::vec((prop::sample::select(vec!["X", "Y", "Z"]), text()), 0..4);
    let image = prop::sample::select(vec!["", "x", "no", "r/ci:1", "r/ci", "docker:dind"]);
    let name = prop::sample::select(vec!["main", "runner", "other"]);
    let containers = || prop::collection::vec((name.clone(), image.clone(), env.clone()), 0..3);
    (labels, annotations, containers(), containers()).prop_map(
        |(labels, annotations, containers, init)| {
            as_stored(&json!({
                "metadata": {"name": "a", "labels": labels, "annotations": annotations},
                "spec": {"containers": to_json(containers), "initContainers": to_json(init), "restartPolicy": "Never"},
            }))
        },
    )
}

type Parts = (
    &'static str,
    &'static str,
    Vec<(&'static str, &'static str)>,
);

/// Generates containers as the API server stores them, without empty values or images.
fn to_json(containers: Vec<Parts>) -> Value {
    let with = |key: &str, name: &str, value: &str| match value {
        "" => json!({"name": name}),
        value => json!({"name": name, key: value}),
    };
    let containers = containers.into_iter().map(|(name, image, env)| {
        let mut container = with("image", name, image);
        container["env"] = env
            .into_iter()
            .map(|(name, value)| with("value", name, value))
            .collect();
        container
    });
    containers.collect()
}

fn every_generated_runner_pod_matches() -> Outcome {
    helm::needed()?;
    let condition = Condition::of(&marks_of_all_kinds());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(3000));
    let runners = std::cell::Cell::new(0);
    runner
        .run(&pods(), |pod| {
            runners.set(runners.get() + usize::from(condition.check(&pod)));
            Ok(())
        })
        .unwrap();
    assert!(runners.get() > 300, "only {}", runners.get());
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        every_runner_pod_of_the_examples_matches,
        every_runner_pod_of_the_golden_cases_matches_under_its_policy,
        a_disabled_system_is_not_in_the_condition,
        quotes_and_patterns_in_a_policy_are_escaped,
        a_pod_with_a_duplicate_variable_still_matches,
        every_generated_runner_pod_matches,
    ]
}
