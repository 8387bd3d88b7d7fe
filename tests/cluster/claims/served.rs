//! Leases in requests to a running server: HTTPS in, a lease on the way, a patch out.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use slipway::{
    server::{Config, Server},
    tls::Identity,
};
use slipway_core::admission::admit;
use slipway_testkit::api_server::{ApiServer, Verb};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::cluster::{Admitted, CLAIMS, PATIENCE, Replica, policy, review, set_claim};

struct Served {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Served {
    /// Starts a server with the replica's state, and a leaser.
    fn start(replica: &Replica, server: &ApiServer) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let identity = Identity::generate(&[], any.ip()).unwrap();
        let leaser = slipway::cache_claims::Leaser::new(
            server.client("served"),
            Arc::clone(&replica.state),
            Arc::clone(&replica.metrics),
        );
        let config = Config {
            listen: any,
            metrics_listen: any,
            tls: identity.serving,
            clients: None,
            state: Arc::clone(&replica.state),
            metrics: Arc::clone(&replica.metrics),
            evaluate: admit,
            events: None,
            leaser: Some(leaser),
            lookup: None,
            max_connections: 16,
            request_timeout: PATIENCE,
            drain_delay: Duration::ZERO,
            drain_timeout: PATIENCE,
        };
        let running = Server::bind(config).unwrap();
        let address = running.address();
        tokio::spawn(running.run());
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(identity.ca_pem.as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let client = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            address,
            tls: Arc::new(client).into(),
        }
    }

    async fn mutate(&self, query: &str, review: &Value) -> Admitted {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self.tls.connect(name, tcp).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(format!("https://localhost/mutate{query}"))
            .header("host", "localhost")
            .body(Full::<Bytes>::from(review.to_string()))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Admitted::read(review, &body)
    }
}

#[tokio::test]
async fn a_request_leases_a_claim_and_a_dry_run_does_not() {
    let server = ApiServer::start();
    set_claim(&server, 0, &json!({}));
    let replica = Replica::start(&server, "replica", policy("claims: 1")).await;
    let webhook = Served::start(&replica, &server);
    let mut dry = review("r1", "set");
    dry["request"]["dryRun"] = json!(true);
    assert_eq!(webhook.mutate("", &dry).await.claim, None);
    let leased = webhook.mutate("", &review("r2", "set")).await;
    assert_eq!(leased.claim.as_deref(), Some("slipway-fast-0"));
    assert_eq!(leased.pod["metadata"]["labels"]["slipway.io/lease"], "r2");
    let exhausted = webhook.mutate("", &review("r3", "set")).await;
    assert_eq!(exhausted.claim, None);
    let writes = server
        .calls()
        .into_iter()
        .filter(|call| call.verb == Verb::Patch);
    assert_eq!(writes.count(), 1);
    let cold = "slipway_pool_leases_total{outcome=\"cold\"}";
    assert_eq!(replica.metric(cold), 1);
    assert_eq!(
        replica.metric("slipway_pool_lease_duration_seconds_count"),
        2
    );
}

#[tokio::test]
async fn a_request_with_little_time_is_answered_without_a_claim() {
    let server = ApiServer::start();
    set_claim(&server, 0, &json!({}));
    let replica = Replica::start(&server, "replica", policy("claims: 1")).await;
    let webhook = Served::start(&replica, &server);
    let gate = server.when(Verb::Patch, CLAIMS).hold();
    let answered = webhook.mutate("?timeout=300ms", &review("r1", "set")).await;
    assert_eq!(answered.claim, None);
    assert_eq!(answered.response["allowed"], true);
    gate.open();
}
