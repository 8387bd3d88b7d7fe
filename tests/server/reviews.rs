//! Reviews, sent to a server that gives tests all the time they need.

use hyper::body::Bytes;
use serde_json::Value;
use slipway::server::{Config, Shutdown};
use slipway_testkit::{
    client::{PATIENCE, Reply, post},
    served::{self, REVIEW, Served},
};
use tokio::task::JoinHandle;

const UID: &str = "9d3b7a52-4c1e-4f86-8e0d-2a5c6b7d8e9f";

pub fn serve() -> Served {
    serve_with(|_| {})
}

pub fn serve_with(change: impl FnOnce(&mut Config)) -> Served {
    serve_until(change).0
}

/// Starts a server, and returns it with what ends it and its result.
pub fn serve_until(
    change: impl FnOnce(&mut Config),
) -> (Served, Shutdown, JoinHandle<std::io::Result<()>>) {
    served::serve_until(|config| {
        config.request_timeout = PATIENCE;
        change(config);
    })
}

/// Posts a review over a new connection.
pub async fn mutate(server: &Served, body: impl Into<Bytes>) -> Reply {
    server.client().send(post("/mutate", body)).await
}

/// Checks that the answer allows the pod of [`REVIEW`], and returns its `response`.
pub fn allowed(body: &str) -> Value {
    let review: Value = serde_json::from_str(body).unwrap();
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(review["response"]["uid"], UID);
    assert_eq!(review["response"]["allowed"], true);
    review["response"].clone()
}

/// Returns [`REVIEW`], changed.
pub fn review(change: impl FnOnce(&mut Value)) -> String {
    let mut review: Value = serde_json::from_str(REVIEW).unwrap();
    change(&mut review);
    review.to_string()
}
