//! Namespaces that the snapshot does not show as opted in, against an in-memory API server.
//!
//! No watch runs here: the snapshot stays as outdated as a test makes it.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use slipway::cluster::{
    lookup::NamespaceLookup,
    state::{ClusterState, LiveState},
};
use slipway_core::k8s::{
    cluster_file,
    namespace::{Namespace, Namespaces},
};
use slipway_testkit::{
    api_server::{ApiServer, Verb},
    client::{PATIENCE, post, within},
    served::{self, REVIEW, Served},
};

const CI: &str = "/api/v1/namespaces/ci";

struct Webhook {
    server: ApiServer,
    state: Arc<LiveState>,
    running: Served,
}

impl Webhook {
    /// Starts a server whose snapshot has these namespaces.
    fn start(known: impl IntoIterator<Item = Namespace>) -> Self {
        let server = ApiServer::start();
        let state = Arc::new(LiveState::new(ClusterState {
            nodes: Some(cluster_file::example_nodes().unwrap().into()),
            namespaces: Some(Namespaces::new(known).into()),
            ..ClusterState::default()
        }));
        let lookup = NamespaceLookup::new(server.client("slipway"), Arc::clone(&state));
        let running = served::serve(|config| {
            config.state = Arc::clone(&state);
            config.lookup = Some(lookup);
            config.request_timeout = PATIENCE;
        });
        Self {
            server,
            state,
            running,
        }
    }

    /// Asks about a runner pod of a namespace, and returns the response.
    async fn ask(&self, query: &str, namespace: &str) -> Value {
        let mut review: Value = serde_json::from_str(REVIEW).unwrap();
        review["request"]["namespace"] = json!(namespace);
        let request = post(&format!("/mutate{query}"), review.to_string());
        let reply = within(self.running.client().send(request)).await;
        let response = reply.json()["response"].clone();
        assert_eq!(response["allowed"], true, "{reply:?}");
        response
    }

    /// Returns the names of the namespaces that were read, each as often as it was.
    fn read(&self) -> Vec<String> {
        let calls = self.server.calls().into_iter();
        calls
            .map(|call| {
                assert_eq!(call.verb, Verb::Get);
                call.path.rsplit('/').next().unwrap().to_owned()
            })
            .collect()
    }

    fn is_enabled(&self) -> bool {
        let state = self.state.load();
        let namespaces = state.namespaces.as_ref().unwrap();
        namespaces.get("ci").is_some_and(Namespace::is_enabled)
    }
}

fn labels(profile: &str) -> Value {
    json!({"metadata": {"labels": {"slipway.io/inject": "enabled", "slipway.io/profile": profile}}})
}

/// Returns the namespace `ci` before it was labelled.
fn unlabelled() -> Namespace {
    Namespace {
        name: "ci".to_owned(),
        quotas: ["requests.storage".to_owned()].into(),
        ..Namespace::default()
    }
}

fn labelled() -> Namespace {
    Namespace {
        labels: [("slipway.io/inject".to_owned(), "enabled".to_owned())].into(),
        ..unlabelled()
    }
}

#[tokio::test]
async fn the_first_pod_after_the_label_is_patched_and_the_next_one_does_not_wait() {
    let webhook = Webhook::start([unlabelled()]);
    webhook.server.set(CI, labels("default"));
    let first = webhook.ask("", "ci").await;
    assert!(first["patch"].is_string(), "{first}");
    assert!(webhook.is_enabled());
    let state = webhook.state.load().clone();
    let ci = state
        .namespaces
        .as_ref()
        .unwrap()
        .get("ci")
        .unwrap()
        .clone();
    assert_eq!(ci.quotas, unlabelled().quotas, "what else is known stays");

    let next = webhook.ask("", "ci").await;
    assert_eq!(next["patch"], first["patch"]);
    assert_eq!(webhook.read(), ["ci"]);
}

#[tokio::test]
async fn a_namespace_that_the_snapshot_does_not_know_gets_the_profile_of_its_label() {
    let webhook = Webhook::start([]);
    webhook.server.set(CI, labels("no-such-profile"));
    let response = webhook.ask("", "ci").await;
    let reasons = response["auditAnnotations"]["reasons"].as_str().unwrap();
    assert!(reasons.contains("profile-unknown"), "{response}");
    assert_eq!(webhook.read(), ["ci"]);
}

#[tokio::test]
async fn a_yes_never_waits() {
    let webhook = Webhook::start([labelled()]);
    let gate = webhook.server.when(Verb::Get, CI).hold();
    assert!(webhook.ask("", "ci").await["patch"].is_string());
    assert!(webhook.read().is_empty());
    gate.open();
}

#[tokio::test]
async fn a_namespace_without_the_label_stays_as_it_is() {
    let webhook = Webhook::start([unlabelled()]);
    webhook.server.set(CI, json!({}));
    assert_eq!(webhook.ask("", "ci").await.get("patch"), None);
    assert!(!webhook.is_enabled());
}

#[tokio::test]
async fn a_request_does_not_wait_for_a_silent_api_server_beyond_its_deadline() {
    let webhook = Webhook::start([unlabelled()]);
    webhook.server.set(CI, labels("default"));
    let gate = webhook.server.when(Verb::Get, CI).always().hold();
    // Answered while the gate is closed, once with little time and once with all.
    for query in ["?timeout=300ms", ""] {
        assert_eq!(webhook.ask(query, "ci").await.get("patch"), None);
    }
    assert_eq!(webhook.read(), ["ci"], "the first look-up still runs");
    gate.open();
    within(webhook.state.until(|state| {
        let namespaces = state.namespaces.as_ref().unwrap();
        namespaces.get("ci").is_some_and(Namespace::is_enabled)
    }))
    .await;
}

#[tokio::test]
async fn requests_for_one_namespace_share_a_look_up() {
    let webhook = Webhook::start([unlabelled()]);
    webhook.server.set(CI, labels("default"));
    let gate = webhook.server.when(Verb::Get, CI).hold();
    let asking = join_all((0..20).map(|_| webhook.ask("", "ci")));
    let opening = async {
        within(gate.reached()).await;
        gate.open();
    };
    let (responses, ()) = tokio::join!(asking, opening);
    for response in responses {
        assert!(response["patch"].is_string(), "{response}");
    }
    assert_eq!(webhook.read(), ["ci"]);
}

#[tokio::test]
async fn forged_namespaces_cost_the_api_server_ten_reads_a_second_at_most() {
    const FORGED: usize = 200;
    let webhook = Webhook::start([]);
    let start = Instant::now();
    let ask = async |i: usize| webhook.ask("", &format!("forged-{i}")).await;
    join_all((0..FORGED).map(ask)).await;
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap() + 1;
    let read = webhook.read();
    let allowed = 10 * seconds;
    assert!(allowed < FORGED, "too slow to tell: {seconds} s");
    assert!(
        (1..=allowed).contains(&read.len()),
        "{} in {seconds} s",
        read.len()
    );
    let different: BTreeSet<&String> = read.iter().collect();
    assert_eq!(different.len(), read.len());
}

#[tokio::test]
async fn a_name_that_no_namespace_has_is_not_looked_up() {
    let webhook = Webhook::start([]);
    for name in ["../nodes", "ci?watch=true", "CI", ""] {
        webhook.ask("", name).await;
    }
    assert!(webhook.read().is_empty(), "{:?}", webhook.read());
}
