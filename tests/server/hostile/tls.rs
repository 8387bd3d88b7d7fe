//! What comes before and instead of a TLS handshake.

use std::{io, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::{ClientConnection, pki_types::ServerName};
use slipway::tls::ClientCheck;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    attacks::tls::{self as attacks, old_hello},
    neighbour::beside,
    served::{ATTACKER, HTTP_1, NEIGHBOUR, Served, serve, within},
};

/// A fatal alert (RFC 8446, section 6): `handshake_failure`, because such a client names no signature
/// algorithm that would do.
const FATAL_HANDSHAKE_FAILURE: [u8; 2] = [2, 40];
const NO_APPLICATION_PROTOCOL: &str = "NoApplicationProtocol";

/// What a raw connection gets back, up to its end.
async fn raw(served: &Served, bytes: &[u8]) -> Vec<u8> {
    let mut stream = served.tcp(ATTACKER).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_before_1_2_is_refused_with_an_alert() {
    let served = serve(|_| {});
    beside(&served, async {
        for version in [[3, 1], [3, 2], [3, 0]] {
            let answer = raw(&served, &old_hello(version)).await;
            assert_eq!(answer[0], 21, "an alert: {answer:?}");
            assert!(answer.ends_with(&FATAL_HANDSHAKE_FAILURE), "{answer:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_tls_gets_an_end() {
    let served = serve(|_| {});
    let answers = beside(&served, attacks::not_tls(&served)).await;
    for answer in answers {
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protocol_that_is_not_served_is_refused_and_none_is_http_1() {
    let served = serve(|_| {});
    beside(&served, async {
        for alpn in [b"spdy/3.1".as_slice(), b"h3", b"http/1.0"] {
            let error = served.tls(ATTACKER, alpn).await.unwrap_err();
            assert!(
                error.to_string().contains(NO_APPLICATION_PROTOCOL),
                "{error}"
            );
        }
        let tcp = served.tcp(ATTACKER).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = served.connector(None, None);
        let mut stream = connector.connect(name, tcp).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    })
    .await;
}

/// Takes as long as the server's patience, ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_and_first_requests_that_stop_half_way_are_closed() {
    let served = serve(|_| {});
    beside(&served, attacks::stopping_half_way(&served)).await;
}

/// A handshake that stops after the server's part of it.
async fn half_a_handshake(served: &Served) -> TcpStream {
    let config = Arc::clone(served.connector(None, Some(HTTP_1)).config());
    let name = ServerName::try_from("localhost").unwrap();
    let mut hello = Vec::new();
    let mut client = ClientConnection::new(config, name).unwrap();
    client.write_tls(&mut hello).unwrap();
    let mut stream = served.tcp(ATTACKER).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    within(stream.read_u8()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_16_handshakes_in_progress_only_those_of_the_same_address_wait() {
    let served = serve(|_| {});
    let mut stopped = Vec::new();
    for _ in 0..16 {
        stopped.push(half_a_handshake(&served).await);
    }
    let mut waiting = Box::pin(served.tls(ATTACKER, HTTP_1));
    let others = beside(&served, async {
        served.tls(NEIGHBOUR, HTTP_1).await.unwrap()
    });
    tokio::select! {
        _ = &mut waiting => panic!("it did not wait"),
        _ = others => {}
    }
    stopped.pop();
    within(waiting).await.unwrap();
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn client(
    authority: &CertifiedIssuer<'_, KeyPair>,
    change: impl FnOnce(&mut CertificateParams),
) -> CertifiedKey<KeyPair> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "kube-apiserver");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let signing_key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&signing_key, authority).unwrap();
    CertifiedKey { cert, signing_key }
}

#[tokio::test]
async fn where_clients_are_checked_one_whose_certificate_has_ended_or_is_for_servers_is_refused() {
    let ours = authority();
    let check = ClientCheck::new(ours.pem().as_bytes(), vec!["kube-apiserver".to_owned()]);
    let served = serve(|config| config.clients = Some(Arc::new(check.unwrap())));
    let good = client(&ours, |_| {});
    let expired = client(&ours, |params| params.not_after = date_time_ymd(2020, 1, 1));
    let future = client(&ours, |params| {
        params.not_before = date_time_ymd(4000, 1, 1);
    });
    let of_a_server = client(&ours, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let self_signed = {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        let signing_key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&signing_key).unwrap();
        CertifiedKey { cert, signing_key }
    };
    for (name, certificate, gets_in) in [
        ("good", Some(&good), true),
        ("expired", Some(&expired), false),
        ("not yet valid", Some(&future), false),
        ("of a server", Some(&of_a_server), false),
        ("self-signed", Some(&self_signed), false),
        ("none", None, false),
    ] {
        assert_eq!(
            is_answered(&served, certificate).await.is_ok(),
            gets_in,
            "{name}"
        );
    }
}

/// In TLS 1.3 a client hears of the refusal only when it reads.
async fn is_answered(served: &Served, client: Option<&CertifiedKey<KeyPair>>) -> io::Result<()> {
    let tcp = served.tcp(ATTACKER).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = served
        .connector(client, Some(HTTP_1))
        .connect(name, tcp)
        .await?;
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = [0; 15];
    within(stream.read_exact(&mut answer)).await?;
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    Ok(())
}
