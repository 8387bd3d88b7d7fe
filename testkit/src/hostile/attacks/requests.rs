//! Valid requests, very many or as large as allowed.

use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::TokioExecutor;

use crate::{
    client::within,
    hostile::attacker,
    served::{REVIEW, Served},
};

/// The largest body that is accepted, in bytes.
pub const BODY: usize = 4 << 20;
const CONNECTIONS: usize = 4;
const STREAMS: usize = 64;

/// Sends 1 GiB of spaces at once, over a few HTTP/2 connections. Most requests run out of time.
pub async fn largest_bodies(served: &Served) {
    let body = Bytes::from(vec![b' '; BODY]);
    all_at_once(served, &body, 1).await;
}

/// Returns a valid review of the largest size: `{}` in the pod becomes as many of the items as fit.
pub fn review_full_of(pod: &str, item: &str) -> String {
    let head = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u",
        "kind":{"group":"","version":"v1","kind":"Pod"},"operation":"CREATE","namespace":"ci","object":"#;
    let (before, after) = pod.split_once("{}").unwrap();
    let room = BODY - head.len() - pod.len() - 2;
    let count = room / (item.len() + 1);
    let items = vec![item; count].join(",");
    format!("{head}{before}{items}{after}}}}}")
}

/// Sends the largest valid reviews over a few connections, one after the other: evaluating one takes
/// as long as a hundred usual ones.
pub async fn largest_reviews(served: &Served) {
    let review = review_full_of(r#"{"metadata":{"name":"p","unknown":[{}]}}"#, "{}");
    let body = Bytes::from(review);
    let connections = (0..CONNECTIONS).map(|_| async {
        let mut sender = attacker(served).http2().await;
        for _ in 0..10 {
            post(&mut sender, &body).await;
        }
    });
    join_all(connections).await;
}

/// Sends reviews over all streams of these connections, whose window is zero: no answer can ever be
/// written.
pub async fn never_reading(served: &Served, connections: usize) {
    let body = Bytes::from_static(REVIEW.as_bytes());
    let mut left = Vec::new();
    for _ in 0..connections {
        let mut no_window = http2::Builder::new(TokioExecutor::new());
        no_window.initial_stream_window_size(0);
        let sender = attacker(served).http2_as(&no_window).await;
        let asking = (0..100).map(|_| {
            let (mut sender, body) = (sender.clone(), body.clone());
            async move { sender.send_request(to_mutate(&body)).await }
        });
        left.push(within(join_all(asking)).await);
    }
}

/// Sends reviews as fast as they are answered, over many streams.
pub async fn reviews(served: &Served) {
    all_at_once(served, &Bytes::from_static(REVIEW.as_bytes()), 25).await;
}

async fn all_at_once(served: &Served, body: &Bytes, on_each_stream: usize) {
    let connections = (0..CONNECTIONS).map(|_| async {
        let sender = attacker(served).http2().await;
        let streams = (0..STREAMS).map(|_| {
            let (mut sender, body) = (sender.clone(), body.clone());
            async move {
                for _ in 0..on_each_stream {
                    post(&mut sender, &body).await;
                }
            }
        });
        join_all(streams).await;
    });
    join_all(connections).await;
}

async fn post(sender: &mut SendRequest<Full<Bytes>>, body: &Bytes) {
    if let Ok(answer) = within(sender.send_request(to_mutate(body))).await {
        drop(within(answer.into_body().collect()).await);
    }
}

fn to_mutate(body: &Bytes) -> Request<Full<Bytes>> {
    let request = Request::post("https://localhost/mutate");
    request.body(Full::new(body.clone())).unwrap()
}
