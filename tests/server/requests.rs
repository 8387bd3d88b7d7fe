//! The server over real sockets: TLS on loopback, with a client that trusts the CA file alone.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, Version,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use slipway::{
    cluster::state::{ClusterState, LiveState},
    metrics::Metrics,
    server::{Config, Server, Shutdown},
    tls::{ClientCheck, Identity, ServingCertificate},
};
use slipway_core::{
    admission::{Admission, admit, review::ReviewError},
    decide::Cluster,
    k8s::cluster_file,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const REVIEW: &str = include_str!("../../examples/reviews/scale-set-dind.json");
const UID: &str = "9d3b7a52-4c1e-4f86-8e0d-2a5c6b7d8e9f";
const LIMIT: usize = 4 << 20;
/// Ends a test that hangs; nothing is measured against it.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    address: SocketAddr,
    metrics: SocketAddr,
    ca_pem: String,
    shutdown: Shutdown,
    end: JoinHandle<std::io::Result<()>>,
}

fn example_state() -> ClusterState {
    ClusterState {
        nodes: Some(cluster_file::example_nodes().unwrap().into()),
        namespaces: Some(cluster_file::example_namespaces().unwrap().into()),
        ..ClusterState::default()
    }
}

fn start_with(change: impl FnOnce(&mut Config)) -> Running {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let identity = Identity::generate(&["ci.example".to_owned()], any.ip()).unwrap();
    let mut config = Config {
        listen: any,
        metrics_listen: any,
        tls: identity.serving,
        clients: None,
        state: LiveState::new(example_state()).into(),
        metrics: Metrics::new().into(),
        evaluate: admit,
        events: None,
        leaser: None,
        max_connections: 16,
        request_timeout: PATIENCE,
        drain_delay: Duration::ZERO,
        drain_timeout: PATIENCE,
    };
    change(&mut config);
    let server = Server::bind(config).unwrap();
    Running {
        address: server.address(),
        metrics: server.metrics_address(),
        ca_pem: identity.ca_pem,
        shutdown: server.shutdown(),
        end: tokio::spawn(server.run()),
    }
}

fn start() -> Running {
    start_with(|_| {})
}

impl Running {
    async fn tls(&self, name: &'static str, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls_as(None, name, alpn).await
    }

    async fn tls_as(
        &self,
        client: Option<&CertifiedKey<KeyPair>>,
        name: &'static str,
        alpn: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            None => config.with_no_client_auth(),
            Some(CertifiedKey { cert, signing_key }) => config
                .with_client_auth_cert(
                    vec![cert.der().clone()],
                    PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()),
                )
                .unwrap(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        let tcp = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from(name).unwrap(), tcp)
            .await
    }

    async fn http1(&self) -> http1::SendRequest<Full<Bytes>> {
        let stream = self.tls("localhost", b"http/1.1").await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = self.tls("localhost", b"h2").await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, String) {
        let mut client = self.http1().await;
        read(within(client.send_request(request)).await.unwrap()).await
    }

    async fn mutate(&self, body: impl Into<Bytes>) -> (StatusCode, String) {
        self.send(post("/mutate", body)).await
    }

    /// A request whose body the server waits for.
    async fn begin_mutate(&self) -> TlsStream<TcpStream> {
        let mut stream = self.tls("localhost", b"http/1.1").await.unwrap();
        let head = format!(
            "POST /mutate HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            REVIEW.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        // It is answered so once its handler asks for the body.
        let mut asked = [0; 25];
        within(stream.read_exact(&mut asked)).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream
    }

    /// From the metrics' port.
    async fn get(&self, path: &str) -> (StatusCode, String) {
        let stream = TcpStream::connect(self.metrics).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        read(within(sender.send_request(get(path))).await.unwrap()).await
    }

    async fn metric(&self, line: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await;
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }

    async fn end(self) {
        self.shutdown.begin();
        within(self.end).await.unwrap().unwrap();
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("the test hangs")
}

async fn read(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let body = within(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(format!("https://localhost{path}"))
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path)
        .header("host", "localhost")
        .body(Full::default())
        .unwrap()
}

fn allowed(body: &str) -> Value {
    let review: Value = serde_json::from_str(body).unwrap();
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(review["response"]["uid"], UID);
    assert_eq!(review["response"]["allowed"], true);
    review["response"].clone()
}

/// The example review, changed.
fn review(change: impl FnOnce(&mut Value)) -> String {
    let mut review: Value = serde_json::from_str(REVIEW).unwrap();
    change(&mut review);
    review.to_string()
}

fn panics<'a>(_: &'a [u8], _: Cluster<'a>) -> Result<Admission<'a>, ReviewError> {
    panic!("a value of the pod: hunter2")
}

#[tokio::test]
async fn a_review_is_answered_over_http_1_and_over_http_2() {
    let server = start();
    let mut client = server.http1().await;
    let response = within(client.send_request(post("/mutate", REVIEW)))
        .await
        .unwrap();
    assert_eq!(response.version(), Version::HTTP_11);
    assert_eq!(response.headers()["content-type"], "application/json");
    let (status, body) = read(response).await;
    assert_eq!(status, StatusCode::OK);
    let over_http_1 = allowed(&body);
    assert_eq!(over_http_1["patchType"], "JSONPatch");
    assert!(over_http_1["patch"].is_string(), "{body}");

    let mut client = server.http2().await;
    let request = post("/mutate?timeout=30s", REVIEW);
    let response = within(client.send_request(request)).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let (status, body) = read(response).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(allowed(&body), over_http_1);
    server.end().await;
}

#[tokio::test]
async fn a_client_that_trusts_the_ca_verifies_every_name() {
    let server = start();
    for name in [
        "localhost",
        "127.0.0.1",
        "::1",
        "slipway.slipway-system.svc",
        "ci.example",
    ] {
        server
            .tls(name, b"h2")
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    let stranger = server.tls("stranger.example", b"h2").await.unwrap_err();
    assert!(
        stranger.to_string().contains("not valid for name"),
        "{stranger}"
    );

    let other = Running {
        ca_pem: start().ca_pem,
        ..server
    };
    let untrusted = other.tls("localhost", b"h2").await.unwrap_err();
    assert!(
        untrusted.to_string().contains("invalid peer certificate"),
        "{untrusted}"
    );
}

#[tokio::test]
async fn what_is_no_review_is_answered_with_400_and_one_sentence() {
    let server = start();
    for (body, says) in [
        (String::new(), "not JSON"),
        ("{".to_owned(), "not JSON"),
        ("\u{0}".to_owned(), "not JSON"),
        ("[]".to_owned(), "not an AdmissionReview"),
        ("{}".to_owned(), "not an AdmissionReview"),
        (
            review(|r| r["apiVersion"] = json!("admission.k8s.io/v1beta1")),
            "v1beta1",
        ),
        (review(|r| r["request"] = Value::Null), "no `request`"),
        (review(|r| r["request"]["uid"] = json!("")), "no `uid`"),
        (
            review(|r| r["kind"] = json!("x".repeat(100_000))),
            "not an AdmissionReview",
        ),
    ] {
        let (status, answer) = server.mutate(body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert!(answer.contains(says), "{answer}");
        assert_eq!(answer.lines().count(), 1, "{answer}");
        assert!(answer.len() < 600, "{answer}");
    }
    let problem = "slipway_admission_problems_total{problem=\"bad-request\"}";
    assert_eq!(server.metric(problem).await, Some(9.0));
}

#[tokio::test]
async fn what_is_not_for_us_is_allowed_without_a_patch() {
    let server = start();
    for body in [
        review(|r| r["request"]["operation"] = json!("UPDATE")),
        review(|r| {
            r["request"]["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
        }),
    ] {
        let (status, answer) = server.mutate(body).await;
        assert_eq!(status, StatusCode::OK);
        let response = allowed(&answer);
        assert_eq!(response.get("patch"), None);
        assert_eq!(response.get("patchType"), None);
    }
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let server = start();
    let mut request = post("/mutate", REVIEW);
    request
        .headers_mut()
        .insert("content-type", "text/yaml".parse().unwrap());
    assert_eq!(server.send(request).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_body_over_the_limit_is_read_to_its_end_and_answered_with_413() {
    let server = start();
    // Everything is written before anything is read: an early answer would reset this client.
    let mut stream = server.tls("localhost", b"http/1.1").await.unwrap();
    let head = format!(
        "POST /mutate HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        2 * LIMIT
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    within(stream.write_all(&vec![b' '; 2 * LIMIT]))
        .await
        .unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    stream.flush().await.unwrap();
    let mut answers = String::new();
    within(stream.read_to_string(&mut answers)).await.unwrap();
    assert!(answers.starts_with("HTTP/1.1 413 "), "{answers}");
    assert!(
        answers.contains("the body is larger than 4 MiB\n"),
        "{answers}"
    );
    // The connection was still good.
    assert!(answers.contains("HTTP/1.1 200 OK"), "{answers}");

    let mut client = server.http2().await;
    let request = post("/mutate", vec![b' '; LIMIT + 1]);
    let (status, _) = read(within(client.send_request(request)).await.unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = server.mutate(vec![b' '; LIMIT]).await;
    assert_eq!(
        status,
        StatusCode::BAD_REQUEST,
        "at the limit it is read, and no review"
    );
    let problem = "slipway_admission_problems_total{problem=\"too-large\"}";
    assert_eq!(server.metric(problem).await, Some(2.0));
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let server = start();
    let mut stream = server.tls("localhost", b"http/1.1").await.unwrap();
    let head = "POST /mutate HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    within(async { while stream.write_all(chunk.as_bytes()).await.is_ok() {} }).await;
    let problem = "slipway_admission_problems_total{problem=\"too-large\"}";
    assert_eq!(server.metric(problem).await, Some(1.0));
}

#[tokio::test]
async fn a_panic_lets_the_pod_through_with_a_warning() {
    let server = start_with(|config| config.evaluate = panics);
    let (status, body) = server.mutate(REVIEW).await;
    assert_eq!(status, StatusCode::OK);
    let response = allowed(&body);
    assert_eq!(response.get("patch"), None);
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("panic") && warning.contains("unchanged"),
        "{warning}"
    );
    assert!(!body.contains("hunter2"), "{body}");

    let (status, _) = server.mutate("{}").await;
    assert_eq!(
        status,
        StatusCode::INTERNAL_SERVER_ERROR,
        "there is no uid to answer to"
    );
    let problem = "slipway_admission_problems_total{problem=\"panic\"}";
    assert_eq!(server.metric(problem).await, Some(2.0));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_with_408() {
    let server = start_with(|config| config.request_timeout = Duration::from_millis(20));
    let mut stream = server.tls("localhost", b"http/1.1").await.unwrap();
    let head = "POST /mutate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let problem = "slipway_admission_problems_total{problem=\"deadline\"}";
    assert_eq!(server.metric(problem).await, Some(1.0));
}

#[tokio::test]
async fn the_api_servers_shorter_timeout_counts() {
    let server = start();
    let mut stream = server.tls("localhost", b"http/1.1").await.unwrap();
    let head = "POST /mutate?timeout=20ms HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn beyond_the_cap_an_idle_connection_makes_room_and_a_busy_one_does_not() {
    let server = start_with(|config| config.max_connections = 1);
    let mut idle = server.http1().await;
    let response = within(idle.send_request(post("/mutate", REVIEW)))
        .await
        .unwrap();
    assert_eq!(read(response).await.0, StatusCode::OK);

    let mut busy = server.begin_mutate().await;
    let problem = "slipway_admission_problems_total{problem=\"connection-limit\"}";
    assert_eq!(server.metric(problem).await, Some(1.0));
    within(idle.send_request(post("/mutate", REVIEW)))
        .await
        .unwrap_err();
    let open = "slipway_connections{port=\"webhook\"}";
    within(async { while server.metric(open).await != Some(1.0) {} }).await;

    within(server.tls("localhost", b"h2")).await.unwrap_err();
    assert_eq!(server.metric(problem).await, Some(2.0));
    busy.write_all(REVIEW.as_bytes()).await.unwrap();
    busy.flush().await.unwrap();
    let mut answer = [0; 15];
    within(busy.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn plain_http_and_garbage_on_the_tls_port_do_no_harm() {
    let server = start();
    for greeting in [
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "\u{0}\u{1}\u{2}garbage",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(greeting.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // An alert or a reset, but an end.
        let _ = within(stream.read_to_end(&mut answer)).await;
    }
    assert_eq!(server.mutate(REVIEW).await.0, StatusCode::OK);
}

#[tokio::test]
async fn other_paths_and_methods_are_told_what_there_is() {
    let server = start();
    let (status, body) = server.send(post("/mutate/pods", REVIEW)).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.contains("POST /mutate"), "{body}");
    assert_eq!(
        server.send(get("/mutate")).await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(server.send(get("/metrics")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        server.send(get("/healthz")).await,
        (StatusCode::OK, "ok\n".to_owned())
    );
    assert_eq!(server.get("/mutate").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn without_nodes_it_is_not_ready_but_answers() {
    let server = start_with(|config| config.state.update(|state| state.nodes = None));
    for (status, body) in [
        server.get("/readyz").await,
        server.send(get("/readyz")).await,
    ] {
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("nodes are not known yet"), "{body}");
    }
    assert_eq!(server.get("/healthz").await.0, StatusCode::OK);
    allowed(&server.mutate(REVIEW).await.1);
}

#[tokio::test]
async fn without_a_certificate_it_is_not_ready_and_no_handshake_succeeds() {
    let certificate = Arc::<ServingCertificate>::default();
    let shown = Arc::clone(&certificate);
    let server = start_with(|config| config.tls = shown);
    let (status, body) = server.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("no serving certificate"), "{body}");
    server.tls("localhost", b"h2").await.unwrap_err();
    assert_eq!(server.get("/healthz").await.0, StatusCode::OK);
}

/// A client's certificate with this common name, and its CA.
fn client_of(authority: &CertifiedIssuer<'_, KeyPair>, name: &str) -> CertifiedKey<KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let signing_key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&signing_key, authority).unwrap();
    CertifiedKey { cert, signing_key }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test]
async fn only_clients_that_are_named_get_in_when_they_are_checked() {
    let (ours, theirs) = (authority(), authority());
    let names = vec!["kube-apiserver".to_owned()];
    let check = ClientCheck::new(ours.pem().as_bytes(), names).unwrap();
    let server = start_with(|config| config.clients = Some(Arc::new(check)));
    let api_server = client_of(&ours, "kube-apiserver");
    for (client, gets_in) in [
        (Some(&api_server), true),
        (Some(&client_of(&ours, "somebody")), false),
        (Some(&client_of(&theirs, "kube-apiserver")), false),
        (None, false),
    ] {
        // In TLS 1.3 the client hears of the refusal only when it reads.
        let answered = match server.tls_as(client, "localhost", b"http/1.1").await {
            Err(_) => false,
            Ok(stream) => {
                let (mut sender, connection) =
                    http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                within(sender.send_request(get("/healthz"))).await.is_ok()
            }
        };
        assert_eq!(answered, gets_in);
    }
    assert!(ClientCheck::new(b"none", Vec::new()).is_err());
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_and_drops_no_old_one() {
    let mut shown = Arc::default();
    let mut server = start_with(|config| shown = Arc::clone(&config.tls));
    let mut old = server.http1().await;
    let mut open = server.begin_mutate().await;

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    assert!(shown.replace(vec![made.cert.der().clone()], key).unwrap());
    server.tls("localhost", b"h2").await.unwrap_err();
    server.ca_pem = made.cert.pem();
    assert_eq!(server.mutate(REVIEW).await.0, StatusCode::OK);

    let (status, body) = read(old.send_request(post("/mutate", REVIEW)).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    allowed(&body);
    open.write_all(REVIEW.as_bytes()).await.unwrap();
    open.flush().await.unwrap();
    let mut start = [0; 15];
    within(open.read_exact(&mut start)).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn shutting_down_finishes_what_is_in_flight() {
    let server = start();
    assert_eq!(server.get("/readyz").await.0, StatusCode::OK);
    let mut stream = server.begin_mutate().await;
    server.shutdown.begin();
    let (status, body) = server.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("shutting down"), "{body}");

    stream.write_all(REVIEW.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    allowed(answer.split_once("\r\n\r\n").unwrap().1);
    within(server.end).await.unwrap().unwrap();
    TcpStream::connect(server.address).await.unwrap_err();
}

#[tokio::test]
async fn a_client_that_never_finishes_does_not_outlast_the_drain() {
    let server = start_with(|config| config.drain_timeout = Duration::from_millis(20));
    let stream = server.begin_mutate().await;
    server.end().await;
    drop(stream);
}

#[tokio::test]
async fn during_the_drain_delay_it_serves_on_unready() {
    let server = start_with(|config| config.drain_delay = PATIENCE * 10);
    server.shutdown.begin();
    assert_eq!(
        server.get("/readyz").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(server.mutate(REVIEW).await.0, StatusCode::OK);
    server.end.abort();
}

#[tokio::test]
async fn while_it_ends_each_answer_is_the_last_of_its_connection() {
    let server = start_with(|config| config.drain_delay = PATIENCE * 10);
    let says_close = |response: &Response<Incoming>| {
        let header = response.headers().get("connection");
        header.is_some_and(|value| value == "close")
    };
    let mut old = server.http1().await;
    let answer = old.send_request(post("/mutate", REVIEW)).await.unwrap();
    assert!(!says_close(&answer));
    read(answer).await;
    old.ready().await.unwrap();
    let mut modern = server.http2().await;

    server.shutdown.begin();
    // A connection of before, and one that comes late.
    for mut connection in [old, server.http1().await] {
        let answer = connection.send_request(post("/mutate", REVIEW)).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(says_close(&answer));
        read(answer).await;
        within(connection.ready()).await.unwrap_err();
    }
    // HTTP/2 has no such header: a proxy would call it malformed.
    let answer = modern.send_request(post("/mutate", REVIEW)).await.unwrap();
    assert!(!says_close(&answer));
    server.end.abort();
}

#[tokio::test]
async fn metrics_count_what_was_decided() {
    let server = start();
    server.mutate(REVIEW).await;
    let (status, text) = server.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let counted = text
        .lines()
        .find(|line| line.starts_with("slipway_admission_requests_total{"))
        .unwrap();
    assert!(
        counted.contains("strategy=\"") && counted.contains("reason=\""),
        "{counted}"
    );
    assert!(
        counted.contains("system=\"") && counted.ends_with(" 1"),
        "{counted}"
    );
    for line in [
        "slipway_admission_duration_seconds_count 1",
        "slipway_admission_problems_total{problem=\"panic\"} 0",
        "slipway_nodes{runtime=\"docker\"} 0",
        "slipway_policy_reload_failed 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert!(
        server
            .metric("slipway_nodes{runtime=\"containerd\"}")
            .await
            .unwrap()
            > 0.0
    );
    assert!(text.contains("slipway_build_info{version=\""), "{text}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let server = start();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let identity = Identity::generate(&[], any.ip()).unwrap();
    let error = Server::bind(Config {
        listen: server.address,
        metrics_listen: any,
        tls: identity.serving,
        clients: None,
        state: LiveState::default().into(),
        metrics: Metrics::new().into(),
        evaluate: admit,
        events: None,
        leaser: None,
        max_connections: 1,
        request_timeout: PATIENCE,
        drain_delay: Duration::ZERO,
        drain_timeout: PATIENCE,
    })
    .unwrap_err();
    let says = format!("failed to listen on {}: ", server.address);
    assert!(error.to_string().starts_with(&says), "{error}");
}
