//! Connections: how many there may be, what ends one, and which ports they use.

use hyper::StatusCode;
use slipway::server::Server;
use slipway_testkit::{
    client::{post, within},
    served::{self, REVIEW},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::reviews::{mutate, serve, serve_with};

#[tokio::test]
async fn at_the_connection_limit_an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let server = serve_with(|config| config.max_connections = 1);
    let mut idle = server.client().http1().await;
    let answer = within(idle.send_request(post("/mutate", REVIEW))).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    within(idle.ready()).await.unwrap();

    let mut busy = server.client().begin_mutate(REVIEW.len()).await;
    let problem = r#"slipway_admission_problems_total{problem="connection-limit"}"#;
    assert_eq!(server.metric(problem).await, 1);
    within(idle.send_request(post("/mutate", REVIEW)))
        .await
        .unwrap_err();
    let open = r#"slipway_connections{port="webhook"}"#;
    within(async { while server.metric(open).await != 1 {} }).await;

    within(server.client().connect()).await.unwrap_err();
    assert_eq!(server.metric(problem).await, 2);
    busy.write_all(REVIEW.as_bytes()).await.unwrap();
    busy.flush().await.unwrap();
    let mut answer = [0; 15];
    within(busy.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn plain_http_and_garbage_on_the_tls_port_do_no_harm() {
    let server = serve();
    for greeting in [
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "\u{0}\u{1}\u{2}garbage",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(greeting.as_bytes()).await.unwrap();
        // An alert or a reset: either way the connection ends.
        let _ = within(stream.read_to_end(&mut Vec::new())).await;
    }
    assert_eq!(mutate(&server, REVIEW).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_error_for_a_taken_port_names_it() {
    let server = serve();
    let (mut config, _) = served::config();
    config.listen = server.address;
    let error = Server::bind(config).unwrap_err();
    let says = format!("failed to listen on {}: ", server.address);
    assert!(error.to_string().starts_with(&says), "{error}");
}
