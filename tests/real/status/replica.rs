//! A server, and a client for both of its ports.

use std::{net::SocketAddr, path::Path, sync::Arc};

use http_body_util::Full;
use hyper::{Request, body::Bytes};
use serde_json::{Value, json};
use slipway::{
    cluster::state::{ClusterState, LiveState},
    metrics::Metrics,
    server::{Config, Server, Shutdown},
};
use slipway_core::{
    cache::claims::{Claim, claim::Annotations},
    k8s::cluster_file,
    policy::Policy,
};
use slipway_testkit::{
    client::{self, PATIENCE, Reply, TlsClient, send_plain, within},
    served,
};
use tokio::task::JoinHandle;

pub const NODES: &str = "examples/nodes/mixed.yaml";
pub const NAMESPACES: &str = "examples/namespaces/ci.yaml";
pub const POLICY: &str = "examples/policies/aks-eks-gke.yaml";

/// Reads a file of this repository.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Lists the files of the example pods.
pub fn example_pods() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pods");
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| format!("examples/pods/{name}"))
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    names
}

/// Reads the cluster state from the example files.
pub fn cluster_state() -> ClusterState {
    ClusterState {
        nodes: Some(cluster_file::nodes(&read(NODES), NODES).unwrap().into()),
        namespaces: Some(
            cluster_file::namespaces(&read(NAMESPACES), NAMESPACES)
                .unwrap()
                .into(),
        ),
        policy: Policy::parse(&read(POLICY)).unwrap().into(),
        ..ClusterState::default()
    }
}

/// A running server.
pub struct Replica {
    webhook: TlsClient,
    pub page: SocketAddr,
    pub state: Arc<LiveState>,
    shutdown: Shutdown,
    end: JoinHandle<std::io::Result<()>>,
}

impl Replica {
    pub fn start() -> Self {
        Self::start_with(cluster_state(), |_| {})
    }

    pub fn start_with(state: ClusterState, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_as(state, change, |server| server.named("slipway-0".to_owned()))
    }

    pub fn start_as(
        state: ClusterState,
        change: impl FnOnce(&mut Config),
        finish: impl FnOnce(Server) -> Server,
    ) -> Self {
        let state = Arc::new(LiveState::new(state));
        let (mut config, ca_pem) = served::config();
        config.state = Arc::clone(&state);
        config.metrics = Metrics::standalone().into();
        config.request_timeout = PATIENCE;
        change(&mut config);
        let server = finish(Server::bind(config).unwrap());
        Self {
            webhook: TlsClient::new(server.address(), &ca_pem),
            page: server.metrics_address(),
            state,
            shutdown: server.shutdown(),
            end: tokio::spawn(server.run()),
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        send_plain(self.page, client::get(path)).await
    }

    pub async fn post(&self, path: &str, kind: &str, body: impl Into<Bytes>) -> Reply {
        let request = Request::post(path)
            .header("host", "localhost")
            .header("content-type", kind)
            .body(Full::new(body.into()))
            .unwrap();
        send_plain(self.page, request).await
    }

    /// Sends a manifest as `curl --data-binary` does.
    pub async fn explain(&self, manifest: &str) -> Reply {
        let kind = "application/x-www-form-urlencoded";
        self.post("/explain", kind, manifest.to_owned()).await
    }

    /// Sends a manifest as the form on the page does.
    pub async fn submit(&self, manifest: &str, namespace: &str) -> Reply {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("manifest", manifest)
            .append_pair("namespace", namespace)
            .finish();
        self.post("/explain", "application/x-www-form-urlencoded", form)
            .await
    }

    /// Gets a path from the webhook port.
    pub async fn get_from_webhook(&self, path: &str) -> Reply {
        self.webhook.send(client::get(path)).await
    }

    /// Asks the webhook to admit a pod.
    pub async fn admit(&self, namespace: &str, pod: &Value) {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "00000000-0000-4000-8000-000000000000", "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "operation": "CREATE", "namespace": namespace, "object": pod}});
        let request = client::post("/mutate", review.to_string());
        let reply = self.webhook.send(request).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    pub async fn end(self) {
        self.shutdown.begin();
        within(self.end).await.unwrap().unwrap();
    }
}

/// Returns a claim that is leased to a pod.
pub fn claim() -> Claim {
    let annotations = [
        ("slipway.io/lease", "r1"),
        ("slipway.io/lease-pod", "build-*"),
        ("slipway.io/cache-key", "team-a"),
        ("slipway.io/leases", "7"),
        ("slipway.io/warm-leases", "5"),
    ];
    let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Claim {
        namespace: "ci".to_owned(),
        name: "slipway-fast-0".to_owned(),
        uid: "u".to_owned(),
        version: "1".to_owned(),
        profile: "fast".to_owned(),
        terminating: false,
        volume: None,
        size: Some("50Gi".to_owned()),
        created: None,
        annotations: Annotations::read(&annotations.into()),
    }
}

/// Returns a scale-set pod with dockerd.
pub fn runner(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"actions-ephemeral-runner": "True"}},
        "spec": {"containers": [
            {"name": "runner", "image": "r", "env": [{"name": "TOKEN", "value": "hunter2"}]},
            {"name": "dind", "image": "docker:dind"}]}})
}
