//! Handshakes that are refused, unfinished or waiting.

use rustls::{ClientConnection, pki_types::ServerName};
use slipway_testkit::{
    client::within,
    served::{Served, serve},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    attacker,
    attacks::tls::{self as attacks, old_hello},
    neighbour::beside,
};

/// A fatal alert (RFC 8446, section 6): `handshake_failure`, because such a client offers no usable
/// signature algorithm.
const FATAL_HANDSHAKE_FAILURE: [u8; 2] = [2, 40];
const NO_APPLICATION_PROTOCOL: &str = "NoApplicationProtocol";

/// Writes these bytes before any handshake. Returns the answer, up to the end of the connection.
async fn raw(served: &Served, bytes: &[u8]) -> Vec<u8> {
    let mut stream = attacker(served).tcp().await.unwrap();
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
async fn other_protocols_on_the_tls_port_are_closed_without_an_answer() {
    let served = serve(|_| {});
    let answers = beside(&served, attacks::not_tls(&served)).await;
    for answer in answers {
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_alpn_protocol_is_refused_and_no_alpn_means_http_1() {
    let served = serve(|_| {});
    beside(&served, async {
        for alpn in [b"spdy/3.1".as_slice(), b"h3", b"http/1.0"] {
            let client = attacker(&served).offering(Some(alpn));
            let error = client.connect().await.unwrap_err();
            assert!(
                error.to_string().contains(NO_APPLICATION_PROTOCOL),
                "{error}"
            );
        }
        let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let answer = attacker(&served).offering(None).answer(request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    })
    .await;
}

/// Takes ten seconds, the server's timeout for a first request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_handshakes_and_first_requests_are_closed() {
    let served = serve(|_| {});
    beside(&served, attacks::stopping_half_way(&served)).await;
}

/// Begins a handshake, and stops after the server's part of it.
async fn half_a_handshake(served: &Served) -> TcpStream {
    let client = attacker(served);
    let name = ServerName::try_from("localhost").unwrap();
    let mut hello = Vec::new();
    let mut handshake = ClientConnection::new(client.config(), name).unwrap();
    handshake.write_tls(&mut hello).unwrap();
    let mut stream = client.tcp().await.unwrap();
    stream.write_all(&hello).await.unwrap();
    within(stream.read_u8()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_16_handshakes_in_progress_only_the_same_address_waits() {
    let served = serve(|_| {});
    let mut stopped = Vec::new();
    for _ in 0..16 {
        stopped.push(half_a_handshake(&served).await);
    }
    let attacker = attacker(&served);
    let mut waiting = Box::pin(attacker.connect());
    let others = beside(&served, async { served.client().connect().await.unwrap() });
    tokio::select! {
        _ = &mut waiting => panic!("it did not wait"),
        _ = others => {}
    }
    stopped.pop();
    within(waiting).await.unwrap();
}
