//! The parts of the chart that are generated from the source: the recognisers and the policy's schema.

use std::{env, fs};

use serde_json::{Map, Value, json};
use slipway_core::policy::{Policy, Recogniser};
use slipway_testkit::{
    harness::Test,
    tests,
    workspace::{path, read},
};

const RECOGNISERS: &str = "charts/slipway/files/recognisers.yaml";
const SCHEMA: &str = "charts/slipway/values.schema.json";

/// Compares a file with its expected contents, or writes them with `SLIPWAY_BLESS`.
fn is_fresh(file: &str, wanted: &str) {
    if env::var_os("SLIPWAY_BLESS").is_some() {
        fs::write(path(file), wanted).unwrap();
    }
    assert!(
        read(file) == wanted,
        "{file} is stale: run SLIPWAY_BLESS=1 cargo test --test real chart"
    );
}

fn the_built_in_recognisers_match_the_source() {
    let marks: Vec<Value> = Recogniser::built_in()
        .map(|recogniser| {
            let mut value = serde_json::to_value(recogniser).unwrap();
            // The match condition does not use the roles of containers.
            value
                .as_object_mut()
                .unwrap()
                .retain(|key, _| ["name", "enabled", "anyOf", "noneOf"].contains(&key.as_str()));
            value
        })
        .collect();
    assert!(marks.len() >= 8);
    let head = "# How runner pods look, from core/src/policy/recogniser/built_in.rs. Written by\n\
                # SLIPWAY_BLESS=1 cargo test --test real chart\n";
    is_fresh(
        RECOGNISERS,
        &format!("{head}{}", serde_saphyr::to_string(&marks).unwrap()),
    );
}

fn the_policy_schema_matches_the_source() {
    let mut schema: Value = serde_json::from_str(&read(SCHEMA)).unwrap();
    let mut policy = serde_json::to_value(Policy::schema()).unwrap();
    let policy = policy.as_object_mut().unwrap();
    policy.remove("$schema");
    let definitions = policy.remove("$defs").unwrap();
    let mut policy = Value::Object(std::mem::take(policy));
    let mut definitions = definitions;
    move_references(&mut policy);
    move_references(&mut definitions);
    // The chart itself refuses a path, with the reason instead of a pattern.
    definitions["HubMirror"] = definitions["MirrorUrl"].clone();
    schema["properties"]["policy"] = policy;
    schema["definitions"] = definitions;
    is_fresh(SCHEMA, &format!("{schema:#}\n"));
}

/// Converts a schema to draft 7, which older helms need: `$defs` is `definitions`, and a
/// reference has no siblings.
fn move_references(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(move_references);
            if let Some(Value::String(target)) = map.remove("$ref") {
                let target = target.replace("#/$defs/", "#/definitions/");
                map.insert("allOf".to_owned(), json!([{"$ref": target}]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(move_references),
        _ => {}
    }
}

/// Makes every object that lists its properties reject others.
fn check_strict(schema: &Value, at: &str) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        assert_eq!(schema["additionalProperties"], false, "{at} takes anything");
        for (key, value) in properties {
            check_strict(value, &format!("{at}.{key}"));
        }
    }
}

fn a_mistyped_value_is_an_error_everywhere() {
    let schema: Value = serde_json::from_str(&read(SCHEMA)).unwrap();
    check_strict(&schema, "values");
    let empty = Map::new();
    let definitions = schema["definitions"].as_object().unwrap_or(&empty);
    assert!(definitions.len() > 20);
    for (name, definition) in definitions {
        check_strict(definition, name);
    }
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        the_built_in_recognisers_match_the_source,
        the_policy_schema_matches_the_source,
        a_mistyped_value_is_an_error_everywhere,
    ]
}
