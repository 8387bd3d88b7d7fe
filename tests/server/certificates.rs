//! The serving certificate, and the certificates of clients.

use std::sync::Arc;

use hyper::StatusCode;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use slipway::tls::{ClientCheck, ServingCertificate};
use slipway_testkit::{
    client::{HTTP_2, Reply, TlsClient, post, within},
    served::{REVIEW, SERVER_NAME, Served},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::reviews::{allowed, mutate, serve, serve_with};

const API_SERVER: &str = "kube-apiserver";

#[tokio::test]
async fn a_client_that_trusts_the_ca_accepts_every_name_of_the_server() {
    let server = serve();
    let client = server.client().offering(Some(HTTP_2));
    for name in [
        "localhost",
        "127.0.0.1",
        "::1",
        "slipway.slipway-system.svc",
        SERVER_NAME,
    ] {
        let connected = client.clone().expecting(name).connect().await;
        connected.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let stranger = client.expecting("stranger.example").connect().await;
    let stranger = stranger.unwrap_err().to_string();
    assert!(stranger.contains("not valid for name"), "{stranger}");

    let other_ca = serve().ca_pem;
    let untrusting = TlsClient::new(server.address, &other_ca).connect().await;
    let untrusting = untrusting.unwrap_err().to_string();
    assert!(
        untrusting.contains("invalid peer certificate"),
        "{untrusting}"
    );
}

#[tokio::test]
async fn a_server_without_a_certificate_is_not_ready_and_completes_no_handshake() {
    let none = Arc::<ServingCertificate>::default();
    let server = serve_with(|config| config.tls = none);
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.body.contains("no serving certificate"), "{ready:?}");
    server.client().connect().await.unwrap_err();
    assert_eq!(server.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_new_certificate_is_used_for_new_connections_and_drops_no_old_ones() {
    let mut serving = Arc::default();
    let server = serve_with(|config| serving = Arc::clone(&config.tls));
    let mut old = server.client().http1().await;
    let mut open = server.client().begin_mutate(REVIEW.len()).await;

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let chain = vec![made.cert.der().clone()];
    assert!(serving.replace(chain, key).unwrap());
    server.client().connect().await.unwrap_err();
    let renewed = Served {
        ca_pem: made.cert.pem(),
        ..server
    };
    assert_eq!(mutate(&renewed, REVIEW).await.status, StatusCode::OK);

    let answer = within(old.send_request(post("/mutate", REVIEW))).await;
    let reply = Reply::read(answer.unwrap()).await;
    assert_eq!(reply.status, StatusCode::OK);
    allowed(&reply.body);
    open.write_all(REVIEW.as_bytes()).await.unwrap();
    open.flush().await.unwrap();
    let mut start = [0; 15];
    within(open.read_exact(&mut start)).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Returns the parameters of a client certificate with this common name.
fn client(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn sign(
    authority: &CertifiedIssuer<'_, KeyPair>,
    params: &CertificateParams,
) -> CertifiedKey<KeyPair> {
    let signing_key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&signing_key, authority).unwrap();
    CertifiedKey { cert, signing_key }
}

/// Starts a server that admits only the API server with a certificate of this authority.
fn serve_with_client_check(authority: &CertifiedIssuer<'_, KeyPair>) -> Served {
    let check = ClientCheck::new(authority.pem().as_bytes(), vec![API_SERVER.to_owned()]);
    serve_with(|config| config.clients = Some(Arc::new(check.unwrap())))
}

/// Returns whether a request with this client certificate is answered. In TLS 1.3 a client hears of
/// a refusal only when it reads.
async fn is_answered(server: &Served, certificate: Option<&CertifiedKey<KeyPair>>) -> bool {
    let client = server.client().presenting(certificate);
    let Ok(mut stream) = client.connect().await else {
        return false;
    };
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    if stream.write_all(request).await.is_err() || stream.flush().await.is_err() {
        return false;
    }
    let mut answer = [0; 15];
    within(stream.read_exact(&mut answer)).await.is_ok() && &answer == b"HTTP/1.1 200 OK"
}

#[tokio::test]
async fn with_client_checks_only_named_clients_are_answered() {
    let (ours, theirs) = (authority(), authority());
    let server = serve_with_client_check(&ours);
    let named = sign(&ours, &client(API_SERVER));
    let unnamed = sign(&ours, &client("somebody"));
    let unknown_ca = sign(&theirs, &client(API_SERVER));
    assert!(is_answered(&server, Some(&named)).await);
    assert!(!is_answered(&server, Some(&unnamed)).await, "another name");
    assert!(!is_answered(&server, Some(&unknown_ca)).await, "another CA");
    assert!(!is_answered(&server, None).await, "no certificate");
    assert!(ClientCheck::new(b"none", Vec::new()).is_err());
}

#[tokio::test]
async fn with_client_checks_expired_and_server_certificates_are_refused() {
    let ours = authority();
    let server = serve_with_client_check(&ours);
    let mut expired = client(API_SERVER);
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut not_yet_valid = client(API_SERVER);
    not_yet_valid.not_before = date_time_ymd(4000, 1, 1);
    let mut of_a_server = client(API_SERVER);
    of_a_server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for (name, params) in [
        ("expired", expired),
        ("not yet valid", not_yet_valid),
        ("of a server", of_a_server),
    ] {
        let certificate = sign(&ours, &params);
        assert!(!is_answered(&server, Some(&certificate)).await, "{name}");
    }
    let signing_key = KeyPair::generate().unwrap();
    let cert = client(API_SERVER).self_signed(&signing_key).unwrap();
    let self_signed = CertifiedKey { cert, signing_key };
    assert!(!is_answered(&server, Some(&self_signed)).await);
    let good = sign(&ours, &client(API_SERVER));
    assert!(is_answered(&server, Some(&good)).await);
}
