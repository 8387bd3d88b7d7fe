//! Requests, valid and not, and their answers.

use std::time::Duration;

use hyper::{StatusCode, Version};
use serde_json::{Value, json};
use slipway_core::{
    admission::{Admission, review::ReviewError},
    decide::Cluster,
};
use slipway_testkit::{
    client::{Reply, get, post, within},
    served::REVIEW,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::reviews::{allowed, mutate, review, serve, serve_with};

const LIMIT: usize = 4 << 20;

fn problem(name: &str) -> String {
    format!("slipway_admission_problems_total{{problem=\"{name}\"}}")
}

#[tokio::test]
async fn a_review_is_answered_over_http_1_and_over_http_2() {
    let server = serve();
    let reply = mutate(&server, REVIEW).await;
    assert_eq!(reply.version, Version::HTTP_11);
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(reply.status, StatusCode::OK);
    let over_http_1 = allowed(&reply.body);
    assert_eq!(over_http_1["patchType"], "JSONPatch");
    assert!(over_http_1["patch"].is_string(), "{reply:?}");

    let mut client = server.client().http2().await;
    let request = post("/mutate?timeout=30s", REVIEW);
    let reply = Reply::read(within(client.send_request(request)).await.unwrap()).await;
    assert_eq!(reply.version, Version::HTTP_2);
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(allowed(&reply.body), over_http_1);
}

#[tokio::test]
async fn anything_but_a_review_is_answered_with_400_and_one_sentence() {
    let server = serve();
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
        let Reply { status, body, .. } = mutate(&server, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(body.contains(says), "{body}");
        assert_eq!(body.lines().count(), 1, "{body}");
        assert!(body.len() < 600, "{body}");
    }
    assert_eq!(server.metric(&problem("bad-request")).await, 9);
}

#[tokio::test]
async fn other_operations_and_kinds_are_allowed_without_a_patch() {
    let server = serve();
    for body in [
        review(|r| r["request"]["operation"] = json!("UPDATE")),
        review(|r| {
            r["request"]["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
        }),
    ] {
        let reply = mutate(&server, body).await;
        assert_eq!(reply.status, StatusCode::OK);
        let response = allowed(&reply.body);
        assert_eq!(response.get("patch"), None);
        assert_eq!(response.get("patchType"), None);
    }
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let server = serve();
    let mut request = post("/mutate", REVIEW);
    request
        .headers_mut()
        .insert("content-type", "text/yaml".parse().unwrap());
    assert_eq!(server.client().send(request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_over_the_limit_is_read_to_the_end_and_answered_with_413() {
    let server = serve();
    // Everything is written before anything is read: an early answer would reset this client.
    let mut stream = server.client().connect().await.unwrap();
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
    assert!(
        answers.contains("HTTP/1.1 200 OK"),
        "the connection is still usable: {answers}"
    );

    let mut client = server.client().http2().await;
    let request = post("/mutate", vec![b' '; LIMIT + 1]);
    let answer = within(client.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let at_the_limit = mutate(&server, vec![b' '; LIMIT]).await;
    assert_eq!(at_the_limit.status, StatusCode::BAD_REQUEST);
    assert_eq!(server.metric(&problem("too-large")).await, 2);
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let server = serve();
    let mut stream = server.client().connect().await.unwrap();
    let head = "POST /mutate HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    within(async { while stream.write_all(chunk.as_bytes()).await.is_ok() {} }).await;
    assert_eq!(server.metric(&problem("too-large")).await, 1);
}

fn panics<'a>(_: &'a [u8], _: Cluster<'a>) -> Result<Admission<'a>, ReviewError> {
    panic!("a value of the pod: hunter2")
}

#[tokio::test]
async fn a_panic_lets_the_pod_through_with_a_warning() {
    let server = serve_with(|config| config.evaluate = panics);
    let reply = mutate(&server, REVIEW).await;
    assert_eq!(reply.status, StatusCode::OK);
    let response = allowed(&reply.body);
    assert_eq!(response.get("patch"), None);
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("panic") && warning.contains("unchanged"),
        "{warning}"
    );
    assert!(!reply.body.contains("hunter2"), "{reply:?}");

    let without_uid = mutate(&server, "{}").await;
    assert_eq!(without_uid.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(server.metric(&problem("panic")).await, 2);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_answered_with_408() {
    let server = serve_with(|config| config.request_timeout = Duration::from_millis(20));
    let request = "POST /mutate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{";
    let answer = server.client().answer(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(server.metric(&problem("deadline")).await, 1);
}

#[tokio::test]
async fn a_shorter_timeout_of_the_api_server_applies() {
    let server = serve();
    let head = "POST /mutate?timeout=20ms HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n";
    let answer = server.client().answer(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn other_paths_are_told_which_paths_exist() {
    let server = serve();
    let client = server.client();
    let reply = client.send(post("/mutate/pods", REVIEW)).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(reply.body.contains("POST /mutate"), "{reply:?}");
    for (path, status) in [
        ("/mutate", StatusCode::METHOD_NOT_ALLOWED),
        ("/metrics", StatusCode::NOT_FOUND),
        ("/healthz", StatusCode::OK),
    ] {
        let reply = client.send(get(path)).await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
    }
    assert_eq!(server.get("/healthz").await.body, "ok\n");
    assert_eq!(server.get("/mutate").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_server_without_nodes_is_not_ready_but_answers() {
    let server = serve_with(|config| config.state.update(|state| state.nodes = None));
    for reply in [
        server.get("/readyz").await,
        server.client().send(get("/readyz")).await,
    ] {
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(reply.body.contains("nodes are not known yet"), "{reply:?}");
    }
    assert_eq!(server.get("/healthz").await.status, StatusCode::OK);
    allowed(&mutate(&server, REVIEW).await.body);
}

#[tokio::test]
async fn metrics_count_decisions() {
    let server = serve();
    mutate(&server, REVIEW).await;
    let Reply { status, body, .. } = server.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let mut lines = body.lines();
    let counted = lines
        .find(|line| line.starts_with("slipway_admission_requests_total{"))
        .unwrap();
    for part in ["strategy=\"", "reason=\"", "system=\""] {
        assert!(counted.contains(part), "{counted}");
    }
    assert!(counted.ends_with(" 1"), "{counted}");
    for line in [
        "slipway_admission_duration_seconds_count 1",
        "slipway_admission_problems_total{problem=\"panic\"} 0",
        "slipway_nodes{runtime=\"docker\"} 0",
        "slipway_policy_reload_failed 0",
    ] {
        assert!(body.lines().any(|l| l == line), "{line} in\n{body}");
    }
    assert!(server.metric("slipway_nodes{runtime=\"containerd\"}").await > 0);
    assert!(body.contains("slipway_build_info{version=\""), "{body}");
}
