//! Forged reviews: what they leave in the log and on the status page.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use hyper::StatusCode;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::reviews::{allowed, mutate, review, serve};

/// The longest line of the log, in bytes.
const MAX_LINE: usize = 4096;
const MEGABYTE: usize = 1 << 20;

/// What is logged while it is the global subscriber's writer.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

/// Returns a review with this text in one place.
fn forged(place: &str, text: &str) -> String {
    review(|review| {
        review["request"]["object"]["metadata"]["generateName"] = json!("build-");
        *review.pointer_mut(place).unwrap() = json!(text);
    })
}

#[tokio::test]
async fn forged_names_are_refused_and_leave_short_lines_in_the_log() {
    let log = Log::default();
    // Large reviews are answered on threads of their own, so the log must be global. No other test of
    // this program sets one.
    let subscriber = tracing_subscriber::fmt().json().with_writer(log.clone());
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();

    let server = serve();
    let text = "x".repeat(MEGABYTE);
    for place in [
        "/request/namespace",
        "/request/kind/kind",
        "/request/operation",
        "/request/object/metadata/name",
        "/request/object/metadata/generateName",
    ] {
        let reply = mutate(&server, forged(place, &text)).await;
        assert_eq!(reply.status, StatusCode::OK, "{place}");
        let response = allowed(&reply.body);
        assert_eq!(response.get("patch"), None, "{place}");
        assert!(response["warnings"][0].is_string(), "{place}");
        assert!(reply.body.len() < MAX_LINE, "{place}");
    }
    let reply = mutate(&server, forged("/request/uid", &text)).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.body.contains("longer than 253 bytes"), "{reply:?}");

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.lines().count() >= 6, "{logged}");
    let longest = logged.lines().map(str::len).max();
    assert!(longest <= Some(MAX_LINE), "{longest:?}");
    let status = server.get("/status").await.body;
    assert!(status.len() < 10 * MAX_LINE, "{}", status.len());
}

#[tokio::test]
async fn the_status_page_does_not_show_uids_which_are_leases() {
    let server = serve();
    let sent = review(|_| {});
    mutate(&server, sent).await;
    let uid = "9d3b7a52-4c1e-4f86-8e0d-2a5c6b7d8e9f";
    for path in ["/status", "/"] {
        let page = server.get(path).await.body;
        assert!(page.contains("build-"), "the pod is shown: {page}");
        assert!(!page.contains(uid), "{path}: {page}");
    }
}
