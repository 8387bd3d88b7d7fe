//! `slipway nodes` and `slipway check`, with the rights that the chart gives to `helm test`.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    harness::{Signal, say_ready},
    place::Place,
};

fn slipway(place: &Place, kubeconfig: &Path, command: &str) -> Output {
    let policy = place.release.policy();
    let mut slipway = Command::new(env!("CARGO_BIN_EXE_slipway"));
    slipway
        .args([command, "--output", "json"])
        .env("SLIPWAY_KUBECONFIG", kubeconfig)
        .env_remove("SLIPWAY_NODES");
    if command == "check" {
        slipway.env("SLIPWAY_POLICY", policy);
    }
    slipway.output().unwrap()
}

fn report(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

/// Returns the findings, except advice about the policy, which is unusual here.
fn problems(report: &Value) -> Vec<String> {
    let problems = report["problems"].as_array().unwrap().iter();
    let about_policy = |problem: &&Value| {
        let about = problem["about"].as_str().unwrap();
        about.ends_with("policy.yaml")
    };
    let others = problems.filter(|problem| !about_policy(problem));
    others.map(Value::to_string).collect()
}

async fn a_healthy_cluster_passes_the_check_and_a_broken_one_fails() -> Outcome {
    let place = Place::new("check").await?;
    let kubeconfig = place.release.add_check_account(&place.cluster).await;
    let mut replica = place.release.start_one().await;
    place.until_patched().await;
    say_ready(&place.cluster, true);

    let nodes = slipway(&place, &kubeconfig, "nodes");
    assert_eq!(nodes.status.code(), Some(0), "{nodes:?}");
    assert_eq!(report(&nodes)["nodes"].as_array().unwrap().len(), 4);

    let check = slipway(&place, &kubeconfig, "check");
    let found = report(&check);
    assert_eq!(check.status.code(), Some(0), "{found:#}");
    assert_eq!(problems(&found), Vec::<String>::new());

    // No replica serves, and a namespace names a profile that does not exist.
    replica.end(Signal::Kill).await;
    say_ready(&place.cluster, false);
    let labels = json!({"slipway.io/inject": "enabled", "slipway.io/profile": "absent"});
    place.cluster.namespace("wrong", labels).await;
    let check = slipway(&place, &kubeconfig, "check");
    let found = report(&check);
    assert_eq!(check.status.code(), Some(1), "{found:#}");
    let found = problems(&found).join("\n");
    assert!(
        found.contains("absent") && found.contains("replica"),
        "{found}"
    );
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![a_healthy_cluster_passes_the_check_and_a_broken_one_fails,]
}
