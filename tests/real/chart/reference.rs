//! The chart's README: a row for every value, with its default.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
    workspace::read,
};

use super::{
    helm::{self, template},
    matrix,
};

/// Lists the paths of all values that are not maps, and of empty maps.
fn leaves(value: &Value) -> BTreeSet<Vec<&str>> {
    match value.as_object() {
        Some(map) if !map.is_empty() => map
            .iter()
            .flat_map(|(key, value)| {
                let below = leaves(value).into_iter();
                below.map(move |rest| [vec![key.as_str()], rest].concat())
            })
            .collect(),
        _ => [Vec::new()].into(),
    }
}

/// Parses the tables: value to default.
fn documented() -> BTreeMap<String, String> {
    let readme = read("charts/slipway/README.md");
    let rows = readme.lines().filter(|line| line.starts_with("| `"));
    let rows: Vec<(String, String)> = rows
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            assert!(cells.len() >= 4 && !cells[3].is_empty(), "{line}");
            (
                cells[1].trim_matches('`').to_owned(),
                cells[2].trim_matches('`').to_owned(),
            )
        })
        .collect();
    let count = rows.len();
    let map: BTreeMap<_, _> = rows.into_iter().collect();
    assert_eq!(map.len(), count, "a value stands twice");
    map
}

fn values() -> Value {
    serde_saphyr::from_str(&read("charts/slipway/values.yaml")).unwrap()
}

fn every_value_is_documented() {
    let documented = documented();
    let values = values();
    let found = leaves(&values);
    assert!(found.len() > 60);
    for leaf in found.iter().map(|path| path.join(".")) {
        let covered = documented
            .keys()
            .any(|row| &leaf == row || leaf.starts_with(&format!("{row}.")));
        assert!(covered, "{leaf} is not in the README");
    }
}

fn every_value_is_tested_with_a_different_setting() {
    let values = values();
    let switches = matrix::switches();
    let is_tried = |path: &Vec<&str>| {
        let look = |values: &Value| {
            path.iter().try_fold(values.clone(), |value, key| {
                // Removing a map removes everything in it.
                value.get(key).cloned().or(value.is_null().then_some(value))
            })
        };
        let default = look(&values);
        let is_other = |other: &Value| look(other).is_some_and(|value| Some(value) != default);
        switches.iter().any(is_other)
    };
    let mut untried = leaves(&values);
    untried.retain(|path| !is_tried(path));
    assert!(untried.is_empty(), "{untried:?}");
}

fn every_documented_default_is_correct() {
    let values = values();
    for (row, default) in documented() {
        let value = values.pointer(&format!("/{}", row.replace('.', "/")));
        let value = value.unwrap_or_else(|| panic!("{row} is no value"));
        let given: Value = serde_json::from_str(&default)
            .unwrap_or_else(|error| panic!("{row}: {default}: {error}"));
        assert_eq!(&given, value, "{row}");
    }
}

fn the_schema_has_exactly_the_chart_values() {
    let schema: Value = serde_json::from_str(&read("charts/slipway/values.schema.json")).unwrap();
    compare(&values(), &schema, "values");
}

fn compare(values: &Value, schema: &Value, at: &str) {
    let (Some(values), Some(properties)) = (values.as_object(), schema["properties"].as_object())
    else {
        return;
    };
    for (key, value) in values {
        let property = properties.get(key);
        compare(
            value,
            property.unwrap_or_else(|| panic!("{at}.{key} is not in the schema")),
            &format!("{at}.{key}"),
        );
    }
    // Helm's own values, and optional parts of maps that are {} by default.
    let optional = ["global", "enabled"];
    for key in properties.keys().filter(|_| at == "values") {
        assert!(
            values.contains_key(key) || optional.contains(&key.as_str()),
            "{at}.{key} is no value"
        );
    }
}

fn the_chart_installs_its_own_version() {
    let chart: Value = serde_saphyr::from_str(&read("charts/slipway/Chart.yaml")).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

/// Returns the values that each helm command in a document sets.
fn set_by_commands(document: &str) -> Vec<Vec<String>> {
    let joined = document.replace("\\\n", " ");
    let commands = joined.lines().filter(|line| line.starts_with("helm "));
    commands
        .map(|command| {
            let words: Vec<&str> = command.split_whitespace().collect();
            let pairs = words.windows(2).filter(|pair| pair[0] == "--set");
            // Without what a shell would substitute.
            let plain = |text: &str| text.split("\"$(").next().unwrap().to_owned();
            pairs.map(|pair| plain(pair[1])).collect()
        })
        .collect()
}

fn every_set_flag_in_the_documents_is_accepted() -> Outcome {
    helm::needed()?;
    let mut commands = set_by_commands(&read("charts/slipway/README.md"));
    commands.extend(set_by_commands(&read("docs/install.md")));
    let sets: usize = commands.iter().map(Vec::len).sum();
    assert!(commands.len() >= 7 && sets >= 8, "{commands:?}");
    for command in commands {
        // A placeholder for the CA that the command would read.
        let mut arguments: Vec<&str> = Vec::new();
        let command: Vec<String> = command
            .into_iter()
            .map(|set| {
                if set.ends_with("caBundle=") {
                    set + "Y2E="
                } else {
                    set
                }
            })
            .collect();
        for set in &command {
            arguments.extend(["--set", set]);
        }
        template(&serde_json::json!({}), &arguments).unwrap();
    }
    Ok(())
}

fn the_values_in_the_documents_are_accepted() -> Outcome {
    helm::needed()?;
    let install = read("docs/install.md");
    let blocks = install.split("```yaml\n").skip(1);
    let texts = blocks.map(|block| block.split("```").next().unwrap());
    let values: Vec<Value> = texts
        .filter(|text| text.starts_with("policy:"))
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .collect();
    assert!(!values.is_empty());
    for values in values {
        template(&values, &[]).unwrap();
    }
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        every_value_is_documented,
        every_value_is_tested_with_a_different_setting,
        every_documented_default_is_correct,
        the_schema_has_exactly_the_chart_values,
        the_chart_installs_its_own_version,
        every_set_flag_in_the_documents_is_accepted,
        the_values_in_the_documents_are_accepted,
    ]
}
