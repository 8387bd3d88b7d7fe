//! The metrics that the alerts and the dashboard use.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests, tools,
    workspace::{path, read, scratch},
};

use super::{
    helm::{self, render},
    objects::Objects,
};

fn with_everything() -> Objects {
    render(
        &json!({"metrics": {"prometheusRule": {"enabled": true, "runbookUrl": "https://runbooks.example/slipway"},
        "serviceMonitor": {"enabled": true}, "dashboard": {"enabled": true}}}),
    )
}

/// Returns the names under which the source registers metrics, with the suffixes of their types.
fn known() -> BTreeSet<String> {
    let files = fs::read_dir(path("src/metrics")).unwrap();
    let sources = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let source = sources.collect::<Vec<_>>().join("\n");
    let registered = source.split("register(").skip(1).filter_map(|rest| {
        let rest = rest.trim_start();
        let rest = rest.strip_prefix("registry,").unwrap_or(rest).trim_start();
        let (name, _) = rest.strip_prefix('"')?.split_once('"')?;
        Some(format!("slipway_{name}"))
    });
    let registered: BTreeSet<String> = registered.collect();
    assert!(registered.len() > 15, "{registered:?}");
    let suffixes = ["", "_total", "_info", "_bucket", "_count", "_sum"];
    let names = registered.iter();
    names
        .flat_map(|name| suffixes.map(|suffix| format!("{name}{suffix}")))
        .collect()
}

/// Returns the Slipway metrics in a query.
fn named(query: &str) -> Vec<&str> {
    query
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("slipway_"))
        .collect()
}

fn rules(objects: &Objects) -> Vec<Value> {
    let groups = objects.one("PrometheusRule")["spec"]["groups"]
        .as_array()
        .unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    rules.cloned().collect()
}

fn every_alert_uses_existing_metrics_and_says_what_is_wrong() -> Outcome {
    helm::needed()?;
    let known = known();
    let rules = rules(&with_everything());
    assert!(rules.len() >= 10);
    for rule in &rules {
        let query = rule["expr"].as_str().unwrap();
        assert!(
            !query.contains("SERVICE") && !query.contains("DEPLOYMENT"),
            "{query}"
        );
        for name in named(query) {
            assert!(known.contains(name), "{name} is no metric: {query}");
        }
        let Some(alert) = rule["alert"].as_str() else {
            continue;
        };
        assert!(alert.starts_with("Slipway"));
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        for annotation in ["summary", "description", "runbook_url"] {
            assert!(rule["annotations"][annotation].is_string(), "{rule}");
        }
    }
    Ok(())
}

fn the_dashboard_is_complete() -> Outcome {
    helm::needed()?;
    let objects = with_everything();
    let mut maps = objects.all("ConfigMap");
    let text = maps
        .find_map(|map| map["data"]["slipway.json"].as_str())
        .unwrap();
    let dashboard: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        dashboard,
        serde_json::from_str::<Value>(&read("charts/slipway/files/dashboard.json")).unwrap()
    );
    let known = known();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            for name in named(query) {
                assert!(known.contains(name), "{name} is no metric: {query}");
            }
        }
    }
    assert!(ids.len() >= 10);
    Ok(())
}

/// Runs the rules' unit tests in promtool.
fn every_alert_fires_exactly_when_it_should() -> Outcome {
    helm::needed()?;
    let promtool = tools::need("promtool")?;
    let objects = with_everything();
    let tests = read("tests/real/chart/alerts.yaml");
    for alert in rules(&objects).iter().filter_map(|r| r["alert"].as_str()) {
        assert!(
            tests.contains(&format!("\"{alert}\"")),
            "{alert} has no test"
        );
    }
    let directory = scratch();
    let spec = objects.one("PrometheusRule")["spec"].to_string();
    fs::write(directory.join("rules.json"), spec).unwrap();
    fs::write(directory.join("alerts.yaml"), tests).unwrap();
    for arguments in [
        ["check", "rules", "rules.json"],
        ["test", "rules", "alerts.yaml"],
    ] {
        let mut command = Command::new(&promtool);
        let output = command
            .args(arguments)
            .current_dir(&directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        every_alert_uses_existing_metrics_and_says_what_is_wrong,
        the_dashboard_is_complete,
        every_alert_fires_exactly_when_it_should,
    ]
}
