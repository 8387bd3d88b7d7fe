//! A server, and a client for both of its ports.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use slipway::{
    cluster::state::{ClusterState, LiveState},
    metrics::Metrics,
    server::{Config, Server, Shutdown},
    tls::Identity,
};
use slipway_core::{
    admission::admit,
    cache::claims::{Claim, claim::Annotations},
    k8s::cluster_file,
    policy::Policy,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

pub const NODES: &str = "examples/nodes/mixed.yaml";
pub const NAMESPACES: &str = "examples/namespaces/ci.yaml";
pub const POLICY: &str = "examples/policies/aks-eks-gke.yaml";
/// Fails a test that hangs; nothing is measured against it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a file of this repository.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The example pods, by file.
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
    webhook: SocketAddr,
    pub page: SocketAddr,
    ca_pem: String,
    pub state: Arc<LiveState>,
    shutdown: Shutdown,
    end: JoinHandle<std::io::Result<()>>,
}

/// A complete response.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: hyper::HeaderMap,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
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
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let identity = Identity::generate(&[], any.ip()).unwrap();
        let state = Arc::new(LiveState::new(state));
        let mut config = Config {
            listen: any,
            metrics_listen: any,
            tls: identity.serving,
            clients: None,
            state: Arc::clone(&state),
            metrics: Metrics::standalone().into(),
            evaluate: admit,
            events: None,
            leaser: None,
            max_connections: 16,
            request_timeout: PATIENCE,
            drain_delay: Duration::ZERO,
            drain_timeout: PATIENCE,
        };
        change(&mut config);
        let server = finish(Server::bind(config).unwrap());
        Self {
            webhook: server.address(),
            page: server.metrics_address(),
            ca_pem: identity.ca_pem,
            state,
            shutdown: server.shutdown(),
            end: tokio::spawn(server.run()),
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Full::default()).unwrap())
            .await
    }

    pub async fn post(&self, path: &str, kind: &str, body: impl Into<Bytes>) -> Reply {
        let request = Request::post(path).header("content-type", kind);
        self.send(request.body(Full::new(body.into())).unwrap())
            .await
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

    async fn send(&self, mut request: Request<Full<Bytes>>) -> Reply {
        request
            .headers_mut()
            .insert("host", "localhost".parse().unwrap());
        let stream = TcpStream::connect(self.page).await.unwrap();
        exchange(stream, request).await
    }

    async fn tls(&self, request: Request<Full<Bytes>>) -> Reply {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).unwrap())
            .unwrap();
        let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(self.webhook).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .unwrap();
        exchange(stream, request).await
    }

    /// Gets a path from the webhook port.
    pub async fn get_from_webhook(&self, path: &str) -> Reply {
        let request = Request::get(path).header("host", "localhost");
        self.tls(request.body(Full::default()).unwrap()).await
    }

    /// Asks the webhook to admit a pod.
    pub async fn admit(&self, namespace: &str, pod: &Value) {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "00000000-0000-4000-8000-000000000000", "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "operation": "CREATE", "namespace": namespace, "object": pod}});
        let request = Request::post("/mutate")
            .header("host", "localhost")
            .body(Full::new(Bytes::from(review.to_string())))
            .unwrap();
        let reply = self.tls(request).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    pub async fn end(self) {
        self.shutdown.begin();
        within(self.end).await.unwrap().unwrap();
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Reply
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = within(sender.send_request(request)).await.unwrap();
    let (parts, body) = Response::into_parts(response);
    let body = within(body.collect()).await.unwrap().to_bytes();
    drop(sender);
    // The server may close first.
    let _ = connection.await;
    Reply {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("the test hangs")
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
