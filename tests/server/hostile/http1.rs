//! HTTP/1.1 requests that are malformed, slow or endless.

use std::{
    sync::{Condvar, Mutex},
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use slipway_core::{
    admission::{Admission, admit, review::ReviewError},
    decide::Cluster,
};
use slipway_testkit::{
    client::{PATIENCE, within},
    served::{REVIEW, serve},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    attacker,
    attacks::{http1 as attacks, requests::BODY},
    neighbour::beside,
};

/// The size of a review that is evaluated on another thread, in bytes.
const LARGE_REVIEW: usize = 300 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ambiguous_request_is_never_answered_with_200() {
    let served = serve(|_| {});
    let length = REVIEW.len();
    let heads = [
        // Which length counts?
        format!("content-length: {length}\r\ncontent-length: 5\r\n"),
        format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"),
        format!("transfer-encoding: identity\r\ncontent-length: {length}\r\n"),
        "transfer-encoding: chunked, gzip\r\n".to_owned(),
        "content-length: -1\r\n".to_owned(),
        "content-length: 99999999999999999999999\r\n".to_owned(),
        format!("content-length: +{length}\r\n"),
        format!("content-length: 0x{length:x}\r\n"),
        // Which header?
        format!("content-length : {length}\r\n"),
        format!("x: a\r\n b\r\ncontent-length: {length}\r\n"),
        format!("x: a\0b\r\ncontent-length: {length}\r\n"),
        format!("\u{1}: b\r\ncontent-length: {length}\r\n"),
    ];
    beside(&served, async {
        for head in heads {
            let request = format!(
                "POST /mutate HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{head}\r\n{REVIEW}"
            );
            let answer = attacker(&served).answer(request.as_bytes()).await;
            let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
            assert!(refused, "{head:?}: {answer}");
        }
        for start in ["POST /mutate HTTP/9.9", "GET", "POST  /mutate HTTP/1.1", "\0 / HTTP/1.1"] {
            let answer = attacker(&served).answer(format!("{start}\r\n\r\n").as_bytes()).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{start:?}: {answer}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_chunks_are_refused() {
    let served = serve(|_| {});
    beside(&served, async {
        for chunks in [
            "xyz\r\n{}\r\n0\r\n\r\n",
            "-2\r\n{}\r\n0\r\n\r\n",
            "ffffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
            "2\r\n{}{}{}\r\n0\r\n\r\n",
            "2;x=\r\r\n{}\r\n0\r\n\r\n",
        ] {
            let request = format!(
                "POST /mutate HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
            );
            let answer = attacker(&served).answer(request.as_bytes()).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{chunks:?}: {answer}");
        }
        // Extensions are skipped, but only short ones.
        let long = format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(1 << 20));
        let request = format!(
            "POST /mutate HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{long}"
        );
        let answer = attacker(&served).answer(request.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_head_is_cut_off() {
    let served = serve(|_| {});
    beside(&served, attacks::endless_heads(&served)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_and_bodies_that_drip_are_cut_off_at_the_deadline() {
    let served = serve(|config| config.request_timeout = Duration::from_secs(1));
    beside(&served, attacks::dripping(&served)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_sent_after_the_body_is_read() {
    let served = serve(|_| {});
    // Everything is written before anything is read: an early answer would reset this client.
    let body = vec![b' '; 2 << 20];
    for (line, status) in [
        ("POST /elsewhere", "404"),
        ("PUT /mutate", "405"),
        ("POST /healthz", "405"),
        ("POST /mutate", "400"),
    ] {
        for framing in ["content-length", "transfer-encoding"] {
            let mut stream = attacker(&served).connect().await.unwrap();
            let (head, end) = match framing {
                "content-length" => (format!("content-length: {}\r\n\r\n", body.len()), ""),
                _ => (
                    format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len()),
                    "\r\n0\r\n\r\n",
                ),
            };
            let head = format!("{line} HTTP/1.1\r\nhost: localhost\r\n{head}");
            stream.write_all(head.as_bytes()).await.unwrap();
            within(stream.write_all(&body)).await.unwrap();
            stream.write_all(end.as_bytes()).await.unwrap();
            // The connection is still usable.
            let next = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            stream.write_all(next).await.unwrap();
            stream.flush().await.unwrap();
            let mut answers = String::new();
            within(stream.read_to_string(&mut answers)).await.unwrap();
            let starts = format!("HTTP/1.1 {status} ");
            assert!(answers.starts_with(&starts), "{line} {framing}: {answers}");
            assert!(
                answers.contains("HTTP/1.1 200 OK"),
                "{line} {framing}: {answers}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_dripping_bodies_of_the_largest_size_block_no_other_client() {
    let served = serve(|config| config.request_timeout = Duration::from_secs(1));
    beside(&served, attacks::dripping_largest_bodies(&served)).await;
}

/// Closed while it holds `true`: then large reviews wait before they are evaluated.
static GATE: (Mutex<bool>, Condvar) = (Mutex::new(true), Condvar::new());

fn admit_through_the_gate<'a>(
    body: &'a [u8],
    cluster: Cluster<'a>,
) -> Result<Admission<'a>, ReviewError> {
    if body.len() > LARGE_REVIEW / 2 {
        let (is_closed, changed) = &GATE;
        let closed = is_closed.lock().unwrap();
        drop(changed.wait_while(closed, |closed| *closed).unwrap());
    }
    admit(body, cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_32_requests_in_flight_only_the_same_address_waits() {
    let served = serve(|config| {
        config.request_timeout = PATIENCE;
        config.evaluate = admit_through_the_gate;
    });
    let attacker = attacker(&served);
    let post = |path: &str, review: &str| {
        let length = review.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{review}"
        )
    };
    let large = post("/mutate", &(REVIEW.to_owned() + &" ".repeat(LARGE_REVIEW)));
    let small = post("/mutate", REVIEW);
    let impatient = post("/mutate?timeout=20ms", REVIEW);
    beside(&served, async {
        let in_flight = join_all((0..32).map(|_| attacker.answer(large.as_bytes())));
        let others = async {
            let refused = loop {
                let answer = attacker.answer(impatient.as_bytes()).await;
                if answer.contains("too many requests") {
                    break answer;
                }
            };
            assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
            let open = async {
                *GATE.0.lock().unwrap() = false;
                GATE.1.notify_all();
            };
            tokio::join!(attacker.answer(small.as_bytes()), open).0
        };
        let (mut answers, last) = tokio::join!(in_flight, within(others));
        answers.push(last);
        for answer in answers {
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_bodies_fill_the_memory_the_address_that_sent_the_most_loses_a_connection() {
    let served = serve(|config| config.request_timeout = PATIENCE);
    let mut unfinished = Vec::new();
    for _ in 0..attacks::LARGEST_BODIES {
        let mut stream = attacker(&served).begin_mutate(BODY).await;
        stream.write_all(&vec![b' '; BODY - 1]).await.unwrap();
        stream.flush().await.unwrap();
        unfinished.push(stream);
    }
    let closed = r#"slipway_admission_problems_total{problem="connection-limit"}"#;
    // The server may still be reading what was sent.
    let calls = async { while served.metric(closed).await == 0 {} };
    beside(&served, within(calls)).await;
    let mut ended = unfinished
        .iter_mut()
        .map(|stream| Box::pin(stream.read_u8()));
    let (first, _, others) = within(futures_util::future::select_all(&mut ended)).await;
    assert!(first.is_err(), "closed, not answered");
    let closed = others.into_iter().filter_map(FutureExt::now_or_never);
    assert_eq!(closed.count(), 0, "one is enough");
}
