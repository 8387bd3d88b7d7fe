//! The shutdown: what is still answered, and when it ends.

use std::time::Duration;

use hyper::{Response, StatusCode, body::Incoming};
use slipway_testkit::{
    client::{PATIENCE, Reply, post, within},
    served::REVIEW,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::reviews::{allowed, mutate, serve_until};

#[tokio::test]
async fn a_shutdown_finishes_requests_in_flight() {
    let (server, shutdown, end) = serve_until(|_| {});
    assert_eq!(server.get("/readyz").await.status, StatusCode::OK);
    let mut stream = server.client().begin_mutate(REVIEW.len()).await;
    shutdown.begin();
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.body.contains("shutting down"), "{ready:?}");

    stream.write_all(REVIEW.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    allowed(answer.split_once("\r\n\r\n").unwrap().1);
    within(end).await.unwrap().unwrap();
    TcpStream::connect(server.address).await.unwrap_err();
}

#[tokio::test]
async fn a_client_that_never_finishes_is_closed_when_the_drain_ends() {
    let (server, shutdown, end) =
        serve_until(|config| config.drain_timeout = Duration::from_millis(20));
    let _stream = server.client().begin_mutate(REVIEW.len()).await;
    shutdown.begin();
    within(end).await.unwrap().unwrap();
}

#[tokio::test]
async fn during_the_drain_delay_the_server_answers_but_is_not_ready() {
    let (server, shutdown, end) = serve_until(|config| config.drain_delay = PATIENCE * 10);
    shutdown.begin();
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(mutate(&server, REVIEW).await.status, StatusCode::OK);
    end.abort();
}

#[tokio::test]
async fn during_a_shutdown_each_answer_closes_its_connection() {
    let (server, shutdown, end) = serve_until(|config| config.drain_delay = PATIENCE * 10);
    let says_close = |response: &Response<Incoming>| {
        let header = response.headers().get("connection");
        header.is_some_and(|value| value == "close")
    };
    let mut early = server.client().http1().await;
    let answer = early.send_request(post("/mutate", REVIEW)).await.unwrap();
    assert!(!says_close(&answer));
    Reply::read(answer).await;
    early.ready().await.unwrap();
    let mut over_http2 = server.client().http2().await;

    shutdown.begin();
    let late = server.client().http1().await;
    for mut connection in [early, late] {
        let answer = connection.send_request(post("/mutate", REVIEW)).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(says_close(&answer));
        Reply::read(answer).await;
        within(connection.ready()).await.unwrap_err();
    }
    // HTTP/2 has no such header, and a proxy would call it malformed.
    let answer = over_http2.send_request(post("/mutate", REVIEW)).await;
    assert!(!says_close(&answer.unwrap()));
    end.abort();
}
