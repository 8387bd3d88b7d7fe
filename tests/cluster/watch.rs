//! Watches, the policy file and Events, against an in-memory API server.

use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use slipway::{
    cluster::{
        events,
        state::{ClusterState, LiveState},
        watch,
    },
    metrics::Metrics,
};
use slipway_core::{
    admission::{LeftAlone, Owner},
    k8s::namespace::Namespace,
    policy::Policy,
};
use slipway_testkit::api_server::{ApiServer, Verb};
use tokio::time::timeout;

const NODES: &str = "/api/v1/nodes";
const LIMITS: &str = "/api/v1/limitranges";

struct Watching {
    server: ApiServer,
    state: Arc<LiveState>,
    metrics: Arc<Metrics>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watching {
    /// Watches this server.
    fn start_on(server: ApiServer) -> Self {
        let state = Arc::new(LiveState::default());
        let metrics = Arc::new(Metrics::new());
        let client = server.client("slipway");
        let task = watch::cluster(client, Arc::clone(&state), Arc::clone(&metrics));
        Self {
            server,
            state,
            metrics,
            task: tokio::spawn(task),
        }
    }

    /// Watches a server that has one node and one namespace.
    fn start() -> Self {
        let server = ApiServer::start();
        set_node(&server, "n1", "containerd://2.1.4");
        server.set("/api/v1/namespaces/ci", json!({}));
        Self::start_on(server)
    }

    async fn until(&self, wanted: impl FnMut(&ClusterState) -> bool) {
        let result = timeout(Duration::from_secs(30), self.state.until(wanted)).await;
        result.expect("the state did not change as expected");
    }

    async fn until_synced(&self) {
        self.until(|state| state.missing().is_empty()).await;
    }

    /// Returns the value of a metric, as text.
    fn metric(&self, name: &str) -> String {
        let page = self.metrics.encode(&self.state.load()).unwrap();
        let value = page.lines().find_map(|line| line.strip_prefix(name));
        let value = value.unwrap_or_else(|| panic!("no {name} in\n{page}"));
        value.trim().to_owned()
    }
}

fn set_node(server: &ApiServer, name: &str, runtime: &str) {
    let node = json!({"status": {"nodeInfo": {"containerRuntimeVersion": runtime}}});
    server.set(&format!("{NODES}/{name}"), node);
}

fn nodes(state: &ClusterState) -> usize {
    state.nodes.as_ref().map_or(0, |nodes| nodes.len())
}

#[tokio::test]
async fn the_state_follows_nodes_namespaces_and_limits() {
    let watching = Watching::start();
    watching.until_synced().await;
    assert_eq!(nodes(&watching.state.load()), 1);

    set_node(&watching.server, "n2", "docker://20.10");
    watching.until(|state| nodes(state) == 2).await;
    watching.server.remove(&format!("{NODES}/n1"));
    watching.until(|state| nodes(state) == 1).await;

    let limits = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}});
    let path = "/api/v1/namespaces/ci/limitranges/max";
    watching.server.set(path, limits);
    let limits_of_ci = |state: &ClusterState| {
        state
            .namespaces
            .as_ref()?
            .get("ci")
            .map(|ci| ci.limits.len())
    };
    watching.until(|state| limits_of_ci(state) == Some(1)).await;
    watching.server.edit("/api/v1/namespaces/ci", |namespace| {
        namespace["metadata"]["labels"] = json!({"slipway.io/inject": "enabled"});
    });
    watching
        .until(|state| {
            let namespaces = state.namespaces.as_ref().unwrap();
            namespaces.get("ci").is_some_and(Namespace::is_enabled)
        })
        .await;
    assert_eq!(watching.metric("slipway_nodes{runtime=\"docker\"}"), "1");
    assert_eq!(
        watching.metric("slipway_snapshot_age_seconds{resource=\"nodes\"}"),
        "0.0"
    );
}

#[tokio::test]
async fn changes_during_a_broken_watch_are_seen_even_if_their_history_is_gone() {
    let watching = Watching::start();
    watching.until_synced().await;
    let gate = watching.server.when(Verb::Watch, NODES).hold();
    watching.server.cut_watches();
    gate.reached().await;
    watching.server.remove(&format!("{NODES}/n1"));
    set_node(&watching.server, "n2", "containerd://2.1.4");
    set_node(&watching.server, "n3", "containerd://2.1.4");
    watching.server.compact();
    gate.open();
    watching.until(|state| nodes(state) == 2).await;
    let calls = watching.server.calls();
    let lists = calls
        .iter()
        .filter(|call| call.verb == Verb::List && call.path == NODES);
    assert_eq!(lists.count(), 2, "without history, a new list is needed");
}

#[tokio::test]
async fn when_the_api_server_is_gone_the_last_state_stays_and_its_age_is_known() {
    let watching = Watching::start();
    watching.until_synced().await;
    let age = "slipway_snapshot_age_seconds{resource=\"nodes\"}";
    assert_eq!(watching.metric(age), "0.0");

    watching.server.stop().await;
    let aged = async {
        while watching.metric(age) == "0.0" {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), aged).await.unwrap();
    assert!(
        watching.state.load().missing().is_empty(),
        "the last state must stay"
    );
    assert_eq!(nodes(&watching.state.load()), 1);

    set_node(&watching.server, "n2", "containerd://2.1.4");
    watching.server.resume();
    watching.until(|state| nodes(state) == 2).await;
    assert_eq!(watching.metric(age), "0.0");
}

#[tokio::test]
async fn without_permission_to_list_nothing_is_known_until_it_is_granted() {
    let server = ApiServer::start();
    set_node(&server, "n1", "containerd://2.1.4");
    server.when(Verb::List, LIMITS).always().answer(403);
    let watching = Watching::start_on(server);
    watching.until(|state| state.nodes.is_some()).await;
    assert_eq!(
        watching.state.load().missing(),
        ["the namespaces are not known yet"]
    );
    watching.server.clear_faults();
    watching.until_synced().await;
}

#[tokio::test]
async fn an_api_server_that_lists_but_does_not_watch_is_not_listed_constantly() {
    let server = ApiServer::start();
    set_node(&server, "n1", "containerd://2.1.4");
    server.when(Verb::Watch, NODES).always().answer(403);
    let watching = Watching::start_on(server);
    let errors = "slipway_watch_errors_total{resource=\"nodes\"}";
    let third = async {
        while watching.metric(errors) != "3" {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), third).await.unwrap();
    let calls = watching.server.calls();
    let asked = |verb| {
        let calls = calls.iter().filter(|c| c.verb == verb && c.path == NODES);
        calls.count()
    };
    assert_eq!((asked(Verb::List), asked(Verb::Watch)), (3, 3));
}

#[tokio::test]
async fn an_incomplete_list_is_not_used() {
    let server = ApiServer::start();
    for i in 0..700 {
        set_node(&server, &format!("n{i}"), "containerd://2.1.4");
    }
    // The first page succeeds; the second is refused, as when the server restarts in between.
    server
        .when(Verb::List, NODES)
        .run(|server| server.when(Verb::List, NODES).answer(410));
    let watching = Watching::start_on(server);
    watching.until(|state| state.nodes.is_some()).await;
    assert_eq!(nodes(&watching.state.load()), 700);
    let calls = watching.server.calls().into_iter();
    let lists = calls.filter(|call| call.verb == Verb::List && call.path == NODES);
    let answers: Vec<u16> = lists.map(|call| call.status).collect();
    assert_eq!(answers, [200, 410, 200, 200]);
}

#[tokio::test]
async fn a_mounted_policy_is_followed_through_swapped_links() {
    let dir = std::env::temp_dir().join(format!("slipway-policy-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    // A kubelet mounts a ConfigMap as links into a directory, and updates it by swapping that directory.
    let mount = |version: &str, text: Option<&str>| {
        let data = dir.join(version);
        fs::create_dir_all(&data).unwrap();
        if let Some(text) = text {
            fs::write(data.join("policy.yaml"), text).unwrap();
        }
        symlink(Path::new(version), dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    mount("v1", Some("profiles: {one: {}}"));
    let path = dir.join("policy.yaml");
    symlink("..data/policy.yaml", &path).unwrap();

    let state = Arc::new(LiveState::new(ClusterState {
        policy: Policy::parse("profiles: {one: {}}").unwrap().into(),
        ..ClusterState::default()
    }));
    let metrics = Arc::new(Metrics::new());
    let follower = tokio::spawn({
        let (state, metrics) = (Arc::clone(&state), Arc::clone(&metrics));
        async move {
            let text = "profiles: {one: {}}".to_owned();
            let every = Duration::from_millis(5);
            watch::policy::follow(&path, text, every, &state, &metrics).await;
        }
    });
    let until = async |wanted: &dyn Fn(&ClusterState) -> bool| {
        let waited = timeout(Duration::from_secs(30), state.until(wanted)).await;
        waited.expect("the policy did not change as expected");
    };
    let says = |state: &ClusterState, word: &str| {
        let error = state.policy_error.as_deref();
        error.is_some_and(|error| error.contains(word))
    };

    mount("v2", Some("profiles: {two: {}}"));
    until(&|state| state.policy.profile("two").is_some()).await;
    mount("v3", Some("profiles: {three: {mtuu: 1}}"));
    until(&|state| says(state, "unknown key `mtuu`")).await;
    assert!(
        state.load().policy.profile("two").is_some(),
        "the last good policy must stay"
    );
    mount("v4", Some(""));
    until(&|state| says(state, "empty")).await;
    mount("v5", None);
    until(&|state| says(state, "failed to read")).await;
    mount("v6", Some("profiles: {six: {}}"));
    until(&|state| state.policy.profile("six").is_some() && state.policy_error.is_none()).await;

    follower.abort();
    fs::remove_dir_all(&dir).unwrap();
    let text = metrics.encode(&state.load()).unwrap();
    for line in [
        "slipway_policy_reloads_total{outcome=\"accepted\"} 2",
        "slipway_policy_reloads_total{outcome=\"refused\"} 3",
        "slipway_policy_reload_failed 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn an_event_is_written_to_the_pods_namespace_once() {
    let server = ApiServer::start();
    let metrics = Arc::new(Metrics::new());
    let (sink, waiting) = events::Sink::new(Arc::clone(&metrics));
    let left = |namespace: &str, owner: Option<Owner>| LeftAlone {
        namespace: namespace.to_owned(),
        pod: "runner-*".to_owned(),
        reason: "profile-unknown",
        why: "there is no profile `fsat`".to_owned(),
        owner,
    };
    let owner = Owner {
        api_version: "actions.github.com/v1alpha1".to_owned(),
        kind: "EphemeralRunner".to_owned(),
        name: "runner-abc".to_owned(),
        uid: "u1".to_owned(),
    };
    sink.put(left("ci", Some(owner)));
    sink.put(left("ci", None));
    sink.put(left("ci-2", None));
    drop(sink);
    let publish = events::publish(server.client("slipway"), None, waiting, &metrics);
    timeout(Duration::from_secs(30), publish).await.unwrap();

    let written: Vec<Value> = server
        .calls()
        .into_iter()
        .filter(|call| call.verb == Verb::Create)
        .map(|call| call.body)
        .collect();
    assert_eq!(written.len(), 2, "{written:?}");
    assert_eq!(written[0]["regarding"]["kind"], "EphemeralRunner");
    assert_eq!(written[0]["metadata"]["namespace"], "ci");
    assert_eq!(written[0]["reason"], "ProfileUnknown");
    assert!(written[0]["note"].as_str().unwrap().contains("fsat"));
    assert_eq!(written[1]["regarding"]["kind"], "Namespace");
    assert_eq!(written[1]["metadata"]["namespace"], "ci-2");
    let text = metrics.encode(&ClusterState::default()).unwrap();
    assert!(text.contains("slipway_events_total{outcome=\"suppressed\"} 1"));
}
