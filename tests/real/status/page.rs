//! The contents of the overview and its JSON.

use std::sync::Arc;

use serde_json::{Value, json};
use slipway::cluster::state::ClusterState;
use slipway_core::cache::claims::Claims;
use slipway_testkit::{harness::Test, tests};

use super::replica::{Replica, claim, cluster_state, runner};

async fn a_decision_is_shown_with_its_reasons_and_without_values_of_the_pod() {
    let replica = Replica::start();
    replica.admit("ci", &runner("build-1")).await;
    replica
        .admit(
            "ci",
            &json!({"metadata": {"generateName": "web-"}, "spec": {}}),
        )
        .await;
    let status = replica.get("/status").await;
    let decisions = status.json()["decisions"].clone();
    assert_eq!(decisions[0]["pod"], "web-*");
    assert_eq!(decisions[0]["reasons"], json!(["not-a-runner"]));
    let build = &decisions[1];
    assert_eq!(build["namespace"], "ci");
    assert_eq!(build["pod"], "build-1");
    assert_eq!(build["system"], "arc-scale-set");
    assert_eq!(build["strategy"], "dind");
    assert_eq!(build["reasons"], json!(["pod-brings-dockerd"]));
    assert!(build["durationMicroseconds"].as_u64().unwrap() > 0);

    let page = replica.get("/").await;
    for shown in [
        "slipway-0",
        "build-1",
        "pod-brings-dockerd",
        "web-*",
        "Ready",
    ] {
        assert!(page.body.contains(shown), "{shown}");
    }
    for reply in [&status, &page] {
        assert!(!reply.body.contains("hunter2"), "{}", reply.body);
        assert!(!reply.body.contains("TOKEN"), "{}", reply.body);
    }
    replica.end().await;
}

async fn the_problem_of_a_bad_request_is_not_quoted() {
    let replica = Replica::start();
    let mut pod = runner("build-1");
    pod["spec"]["containers"][0]["env"] = json!("hunter2");
    replica.admit("ci", &pod).await;
    let status = replica.get("/status").await;
    assert_eq!(status.json()["decisions"][0]["reason"], "bad-request");
    assert!(!status.body.contains("hunter2"), "{}", status.body);
    replica.end().await;
}

async fn names_that_look_like_html_are_escaped() {
    let replica = Replica::start();
    let name = "<img src=x onerror=alert(1)>\"'&";
    replica.admit("ci", &runner(name)).await;
    let page = replica.get("/").await;
    assert!(!page.body.contains("<img"), "{}", page.body);
    assert!(
        page.body.contains("&#60;img src=x onerror=alert(1)&#62;"),
        "{}",
        page.body
    );

    let manifest = json!({"kind": "Pod", "metadata": {"name": name}, "spec": {"containers": []}});
    let page = replica
        .submit(&format!("# </textarea><img>\n{manifest}"), "<img>")
        .await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("<img"), "{}", page.body);
    assert_eq!(page.body.matches("</textarea>").count(), 1);
    replica.end().await;
}

async fn the_latest_two_hundred_decisions_are_kept_and_can_be_filtered() {
    let replica = Replica::start();
    for i in 0..205 {
        let namespace = if i % 5 == 0 { "ci-limited" } else { "ci" };
        replica
            .admit(namespace, &runner(&format!("build-{i}")))
            .await;
    }
    let status = replica.get("/status").await.json();
    assert_eq!(status["decisions"].as_array().unwrap().len(), 200);
    assert_eq!(status["decisions"][0]["pod"], "build-204");
    assert_eq!(status["decisions"][199]["pod"], "build-5");
    assert_eq!(status["decisionsSinceStart"], 205);
    let page = replica.get("/?namespace=ci-limited&strategy=dind").await;
    assert!(page.body.contains("40 of 200 shown"));
    assert!(page.body.contains("build-200") && !page.body.contains("build-201"));
    let page = replica.get("/?strategy=containerd").await;
    assert!(page.body.contains("0 of 200 shown"));
    replica.end().await;
}

async fn nodes_namespaces_and_the_policy_are_reported() {
    let replica = Replica::start();
    let status = replica.get("/status").await.json();
    assert_eq!(status["nodes"]["known"], 4);
    let pools: Vec<(&Value, &Value, &Value)> = status["nodes"]["pools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pool| (&pool["pool"], &pool["runtime"], &pool["nodes"]))
        .collect();
    assert_eq!(
        pools,
        [
            (&json!("containerd"), &json!("containerd"), &json!(2)),
            (&json!("docker"), &json!("docker"), &json!(2)),
        ]
    );
    let names: Vec<&str> = status["namespaces"]["optedIn"]
        .as_array()
        .unwrap()
        .iter()
        .map(|namespace| namespace["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["ci", "ci-baseline", "ci-limited", "ci-restricted"]);
    let host_access = |i: usize| {
        status["namespaces"]["optedIn"][i]["hostAccess"]
            .as_bool()
            .unwrap()
    };
    assert!(host_access(0) && !host_access(1) && !host_access(3));
    assert_eq!(status["policy"]["profiles"][0]["name"], "default");
    assert!(status["certificate"]["expiresInSeconds"].as_i64().unwrap() > 0);
    replica.end().await;
}

async fn a_replica_that_is_not_ready_says_why_and_what_to_do() {
    let replica = Replica::start_with(ClusterState::default(), |_| {});
    let status = replica.get("/status").await.json();
    assert_eq!(status["ready"], false);
    assert_eq!(status["notReadyBecause"][0], "the nodes are not known yet");
    assert_eq!(status["nodes"], Value::Null);
    assert_eq!(status["attention"][0]["severity"], "error");
    let page = replica.get("/").await;
    assert!(page.body.contains("Not ready") && page.body.contains("the nodes are not known yet"));
    replica.end().await;
}

async fn an_invalid_policy_and_a_dead_mirror_need_attention() {
    let replica = Replica::start();
    let calm = replica.get("/status").await.json();
    assert_eq!(calm["attention"], json!([]), "{calm}");
    assert!(
        replica
            .get("/")
            .await
            .body
            .contains("Nothing needs attention")
    );
    replica.state.update(|state| {
        state.policy_error = Some("policy.yaml: unknown key `mtuu`".into());
        let mirrors = state.policy.registry_mirrors();
        state.dead_mirrors = mirrors.iter().map(ToString::to_string).collect();
        state.mirrors_probed = true;
    });
    let status = replica.get("/status").await.json();
    assert_eq!(
        status["ready"], true,
        "an invalid policy file does not make a replica unready"
    );
    assert_eq!(status["policy"]["error"], "policy.yaml: unknown key `mtuu`");
    assert_eq!(status["mirrors"][0]["up"], false);
    let severities: Vec<&Value> = status["attention"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["severity"])
        .collect();
    assert_eq!(severities[0], "error");
    assert!(
        severities.len() >= 2 && severities[1] == "warning",
        "{severities:?}"
    );
    replica.end().await;
}

async fn claims_are_reported_if_the_policy_has_pools() {
    let replica = Replica::start();
    assert_eq!(replica.get("/status").await.json()["claims"], Value::Null);
    replica
        .state
        .update(|state| state.claims = Some(Arc::new(Claims::new([claim()]))));
    let claim = replica.get("/status").await.json()["claims"][0].clone();
    assert_eq!(claim["state"], "leased");
    assert_eq!(claim["pod"], "build-*");
    assert_eq!(
        (&claim["leases"], &claim["warmLeases"]),
        (&json!(7), &json!(5))
    );
    let page = replica.get("/").await;
    assert!(page.body.contains("slipway-fast-0") && page.body.contains("1 leased"));
    replica.end().await;
}

async fn long_tables_are_cut_on_the_page_but_not_in_the_json() {
    let mut many = cluster_state();
    let namespace = |i| {
        format!(
            "---\nkind: Namespace\nmetadata: {{name: n{i:04}, labels: {{slipway.io/inject: enabled}}}}\n"
        )
    };
    let namespaces = (0..3000).map(namespace).collect::<Vec<_>>().concat();
    many.namespaces = Some(
        slipway_core::k8s::cluster_file::namespaces(&namespaces, "f")
            .unwrap()
            .into(),
    );
    let replica = Replica::start_with(many, |_| {});
    let page = replica.get("/").await;
    assert!(page.body.contains("And 2800 more"));
    let status = replica.get("/status").await.json();
    assert_eq!(
        status["namespaces"]["optedIn"].as_array().unwrap().len(),
        3000
    );
    replica.end().await;
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        a_decision_is_shown_with_its_reasons_and_without_values_of_the_pod,
        the_problem_of_a_bad_request_is_not_quoted,
        names_that_look_like_html_are_escaped,
        the_latest_two_hundred_decisions_are_kept_and_can_be_filtered,
        nodes_namespaces_and_the_policy_are_reported,
        a_replica_that_is_not_ready_says_why_and_what_to_do,
        an_invalid_policy_and_a_dead_mirror_need_attention,
        claims_are_reported_if_the_policy_has_pools,
        long_tables_are_cut_on_the_page_but_not_in_the_json,
    ]
}
