//! The chart's README: a row for every value, with its default.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::helm::read;

/// The paths of all values that are no maps, and of empty maps.
fn leaves(value: &Value, at: &str, found: &mut BTreeMap<String, Value>) {
    match value.as_object() {
        Some(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if at.is_empty() {
                    key.clone()
                } else {
                    format!("{at}.{key}")
                };
                leaves(value, &path, found);
            }
        }
        _ => {
            found.insert(at.to_owned(), value.clone());
        }
    }
}

/// `value -> default` of the tables.
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

#[test]
fn every_value_is_documented() {
    let documented = documented();
    let mut found = BTreeMap::new();
    leaves(&values(), "", &mut found);
    assert!(found.len() > 60);
    for leaf in found.keys() {
        let covered = documented
            .keys()
            .any(|row| leaf == row || leaf.starts_with(&format!("{row}.")));
        assert!(covered, "{leaf} is not in the README");
    }
}

#[test]
fn every_documented_value_has_the_default_that_is_given() {
    let values = values();
    for (row, default) in documented() {
        let value = values.pointer(&format!("/{}", row.replace('.', "/")));
        let value = value.unwrap_or_else(|| panic!("{row} is no value"));
        let given: Value = serde_json::from_str(&default)
            .unwrap_or_else(|error| panic!("{row}: {default}: {error}"));
        assert_eq!(&given, value, "{row}");
    }
}

#[test]
fn every_value_is_in_the_schema_and_no_other() {
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
    // Helm's own, and optional parts of what is {} by default.
    let optional = ["global", "enabled"];
    for key in properties.keys().filter(|_| at == "values") {
        assert!(
            values.contains_key(key) || optional.contains(&key.as_str()),
            "{at}.{key} is no value"
        );
    }
}
