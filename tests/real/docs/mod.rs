//! The documents match the code: every key, every default, every reason code.

mod commands;
mod kept_in_step;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use slipway_core::{
    policy::{Policy, Profile},
    reason::Reason,
};
use slipway_testkit::{harness::Test, tests};
use strum::VariantNames;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn example_policies() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("examples/policies")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    paths
}

/// Returns the keys of a schema as paths: `*` stands for a name, `[]` for an item of a list.
fn schema_paths() -> BTreeSet<String> {
    let schema = serde_json::to_value(Policy::schema()).unwrap();
    let mut paths = BTreeSet::new();
    walk_schema(&schema, &schema, "", &mut paths);
    paths
}

fn walk_schema(root: &Value, node: &Value, at: &str, paths: &mut BTreeSet<String>) {
    assert!(at.matches('.').count() < 10, "endless schema at {at}");
    if let Some(target) = node.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(target.strip_prefix('#').unwrap());
        walk_schema(root, target.unwrap(), at, paths);
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        for variant in node
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            walk_schema(root, variant, at, paths);
        }
    }
    for (key, value) in node
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let path = join(at, key);
        walk_schema(root, value, &path, paths);
        paths.insert(path);
    }
    if let Some(items) = node.get("items") {
        walk_schema(root, items, &format!("{at}[]"), paths);
    }
    if let Some(values) = node.get("additionalProperties") {
        walk_schema(root, values, &join(at, "*"), paths);
    }
}

fn join(at: &str, key: &str) -> String {
    if at.is_empty() {
        key.to_owned()
    } else {
        format!("{at}.{key}")
    }
}

/// Returns the table rows in a document that start with a code span: its text, and the other cells.
fn rows(document: &str) -> Vec<(String, Vec<String>)> {
    let lines = document.lines().filter(|line| line.starts_with("| `"));
    lines
        .map(|line| {
            let line = line.replace("\\|", "\u{1}");
            let mut cells = line
                .trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().replace('\u{1}', "|"));
            let first = cells.next().unwrap();
            (first.trim_matches('`').to_owned(), cells.collect())
        })
        .collect()
}

/// Returns the rows of the table of keys: those that name a top-level key or a key below one.
fn documented_keys() -> BTreeMap<String, Vec<String>> {
    let document = read("docs/policy.md");
    let (_, rest) = document.split_once("\n## Every key\n").unwrap();
    let table = rest.split("\n## ").next().unwrap();
    let rows = rows(table);
    let count = rows.len();
    let keys: BTreeMap<_, _> = rows.into_iter().collect();
    assert_eq!(keys.len(), count, "a key stands twice in docs/policy.md");
    keys
}

fn every_example_policy_is_accepted() {
    let paths = example_policies();
    assert!(paths.len() >= 4, "{paths:?}");
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        if let Err(error) = Policy::parse(&text) {
            panic!("{}: {error}", path.display());
        }
    }
}

fn every_policy_in_the_documents_is_accepted() {
    let mut seen = 0;
    for path in ["docs/policy.md", "docs/security.md"] {
        for block in read(path).split("```yaml\n").skip(1) {
            let yaml = block.split("```").next().unwrap();
            if let Err(error) = Policy::parse(yaml) {
                panic!("{path}: {error}\n{yaml}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} policies found");
}

fn only_the_example_with_a_cpu_limit_has_a_warning() {
    for path in example_policies() {
        let policy = Policy::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        let warnings = policy.warnings();
        if path.ends_with("restricted.yaml") {
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(
                warnings[0].contains("dind.resources.limits.cpu"),
                "{warnings:?}"
            );
        } else {
            assert!(warnings.is_empty(), "{}: {warnings:?}", path.display());
        }
    }
}

fn everything_yaml_contains_every_key() {
    let value: Value = serde_saphyr::from_str(&read("examples/policies/everything.yaml")).unwrap();
    let missing: Vec<String> = schema_paths()
        .into_iter()
        .filter(|path| !holds(&value, path))
        .collect();
    assert!(missing.is_empty(), "not in everything.yaml: {missing:?}");
}

/// Returns whether a document has a value at a path of the schema.
fn holds(value: &Value, path: &str) -> bool {
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let (key, is_list) = step
        .strip_suffix("[]")
        .map_or((step, false), |key| (key, true));
    let object = value.as_object();
    let found: Vec<&Value> = match (object, key) {
        (None, _) => return false,
        (Some(object), "*") => object.values().collect(),
        (Some(object), key) => object.get(key).into_iter().collect(),
    };
    let found: Vec<&Value> = if is_list {
        found
            .into_iter()
            .filter_map(Value::as_array)
            .flatten()
            .collect()
    } else {
        found
    };
    found
        .iter()
        .any(|value| rest.is_empty() || holds(value, rest))
}

fn the_reference_documents_exactly_the_existing_keys() {
    let documented: BTreeSet<String> = documented_keys().into_keys().collect();
    let known = schema_paths();
    assert!(known.len() > 60, "only {} keys in the schema", known.len());
    assert!(
        known.contains("profiles.*.dind.cache.claimName"),
        "{known:?}"
    );
    let missing: Vec<_> = known.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&known).collect();
    assert!(missing.is_empty(), "not in docs/policy.md: {missing:#?}");
    assert!(
        stale.is_empty(),
        "no keys, but in docs/policy.md: {stale:#?}"
    );
}

fn the_reference_gives_the_correct_defaults() {
    let profile = serde_json::to_value(Profile::default()).unwrap();
    let keys = documented_keys();
    let mut compared = 0;
    for (path, cells) in &keys {
        let Some(rest) = path.strip_prefix("profiles.*.") else {
            continue;
        };
        let is_leaf = !keys
            .keys()
            .any(|other| other.starts_with(&format!("{path}.")));
        let value = profile.pointer(&format!("/{}", rest.replace('.', "/")));
        let (true, Some(value)) = (is_leaf, value) else {
            continue;
        };
        let shown = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(
            cells[1],
            format!("`{shown}`"),
            "the default of {path} in docs/policy.md"
        );
        compared += 1;
    }
    assert!(compared > 25, "only {compared} defaults compared");
}

/// The text of a function of core/src/reason/mod.rs, to its closing brace.
fn function_of_reason(head: &str) -> String {
    let source = read("core/src/reason/mod.rs");
    let (_, rest) = source.split_once(head).unwrap();
    rest.split("\n    }\n").next().unwrap().to_owned()
}

/// Returns the codes of all reasons, by the name of the variant.
fn reason_codes() -> BTreeMap<String, String> {
    let pascal_case = |code: &str| -> String {
        let words = code.split('-').map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        });
        words.collect()
    };
    let codes = Reason::VARIANTS.iter();
    codes
        .map(|code| (pascal_case(code), (*code).to_owned()))
        .collect()
}

/// Returns the `Name` in a pattern such as `Self::Name(_)`.
fn variant_name(text: &str) -> String {
    let (_, name) = text.split_once("Self::").unwrap();
    name.chars().take_while(|c| c.is_alphanumeric()).collect()
}

fn every_actionable_reason_is_marked_as_a_warning_and_no_other() {
    let codes = reason_codes();
    let body = function_of_reason("fn is_actionable(&self)");
    let actionable: BTreeSet<&String> = body
        .lines()
        .filter(|line| line.contains("Self::"))
        .map(|line| &codes[&variant_name(line)])
        .collect();
    let rows = rows(&read("docs/reasons.md"));
    let marked: BTreeSet<&String> = rows
        .iter()
        .filter(|(_, cells)| cells[0].starts_with("**warning**"))
        .map(|(code, _)| code)
        .collect();
    assert!(actionable.len() > 5, "{actionable:?}");
    assert_eq!(marked, actionable);
}

fn every_reason_code_is_explained_and_no_other() {
    let codes: BTreeSet<String> = reason_codes().into_values().collect();
    let rows = rows(&read("docs/reasons.md"));
    let documented: BTreeSet<String> = rows.iter().map(|(code, _)| code.clone()).collect();
    assert_eq!(
        documented.len(),
        rows.len(),
        "a code stands twice in docs/reasons.md"
    );
    let missing: Vec<_> = codes.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&codes).collect();
    assert!(missing.is_empty(), "not in docs/reasons.md: {missing:?}");
    assert!(
        stale.is_empty(),
        "no codes, but in docs/reasons.md: {stale:?}"
    );
    for (code, cells) in &rows {
        assert!(
            cells.iter().all(|cell| !cell.is_empty()),
            "an empty cell for {code}"
        );
    }
}

/// Returns the text of all Rust files below a directory.
fn rust_below(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &rust_below(&path);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text += &fs::read_to_string(&path).unwrap();
        }
    }
    text
}

fn every_test_that_is_named_as_a_proof_exists() {
    let tests = rust_below(&root().join("tests"))
        + &rust_below(&root().join("src"))
        + &rust_below(&root().join("core"));
    let document = read("docs/reliability.md");
    let words = document.split('`').skip(1).step_by(2);
    let names: BTreeSet<&str> = words
        .filter(|word| word.matches('_').count() > 2 && !word.contains(['/', ' ', '-']))
        .collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(tests.contains(&format!("fn {name}(")), "{name}");
    }
}

fn slipway(arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn the_readme_shows_what_its_first_command_prints() {
    let readme = read("README.md");
    let shown = readme.split("```text\n").nth(1).unwrap();
    let (shown, _) = shown.split_once("\n```").unwrap();
    let output = slipway(&[
        "explain",
        "--diff",
        "-f",
        "examples/pods/scale-set-dind.yaml",
    ]);
    let printed = String::from_utf8(output.stdout).unwrap();
    for part in shown
        .split('…')
        .map(str::trim_end)
        .filter(|part| !part.is_empty())
    {
        assert!(
            printed.contains(part),
            "not printed:\n{part}\n---\n{printed}"
        );
    }
}

/// Lists the tests of all modules.
pub fn tests() -> Vec<Test> {
    let mut all = tests![
        every_example_policy_is_accepted,
        every_policy_in_the_documents_is_accepted,
        only_the_example_with_a_cpu_limit_has_a_warning,
        everything_yaml_contains_every_key,
        the_reference_documents_exactly_the_existing_keys,
        the_reference_gives_the_correct_defaults,
        every_actionable_reason_is_marked_as_a_warning_and_no_other,
        every_reason_code_is_explained_and_no_other,
        every_test_that_is_named_as_a_proof_exists,
        the_readme_shows_what_its_first_command_prints,
    ];
    all.extend(commands::tests());
    all.extend(kept_in_step::tests());
    all
}
