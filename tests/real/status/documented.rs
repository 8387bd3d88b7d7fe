//! docs/status.md documents exactly the keys of the JSON.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use slipway_core::cache::claims::Claims;
use slipway_testkit::{harness::Test, tests};

use super::replica::{Replica, claim, read, runner};

/// Collects every key as a path; `[]` stands for an item of a list.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = if at.is_empty() {
                    key.clone()
                } else {
                    format!("{at}.{key}")
                };
                paths(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => {
            assert!(
                !items.is_empty() || at.ends_with("arnings") || at.ends_with("Because"),
                "{at} is empty"
            );
            for item in items {
                paths(item, &format!("{at}[]"), found);
            }
        }
        _ => {}
    }
}

async fn exactly_the_keys_of_the_status_are_documented() {
    let replica = Replica::start();
    replica.admit("ci", &runner("build-1")).await;
    replica.state.update(|state| {
        state.policy_error = Some("unknown key".into());
        state.claims = Some(Arc::new(Claims::new([claim()])));
    });
    let mut known = BTreeSet::new();
    paths(&replica.get("/status").await.json(), "", &mut known);
    assert!(known.len() > 50, "{known:?}");

    let document = read("docs/status.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<String> = rows
        .map(|row| row.split('`').next().unwrap().to_owned())
        .filter(|key| !key.starts_with('/'))
        .collect();
    let missing: Vec<_> = known.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&known).collect();
    assert!(missing.is_empty(), "not in docs/status.md: {missing:#?}");
    assert!(
        stale.is_empty(),
        "in docs/status.md, but not in the JSON: {stale:#?}"
    );
    replica.end().await;
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![exactly_the_keys_of_the_status_are_documented,]
}
