//! The end, while requests come.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::served::{HTTP_2, NEIGHBOUR, REVIEW, serve_until, within};

const CONNECTIONS: usize = 4;
const REQUESTS_AT_ONCE: usize = 8;
const BEFORE_THE_END: usize = 200;

/// Requests that the client had not sent yet, or that the server says it did not take, go to another
/// replica: the API server's client does so by itself.
fn was_not_taken(error: &hyper::Error) -> bool {
    let says = format!("{error:?}");
    error.is_canceled() || says.contains("NO_ERROR") || says.contains("REFUSED_STREAM")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_that_was_taken_is_lost_when_the_end_comes_under_load() {
    let (served, shutdown, end) = serve_until(|_| {});
    let answered = Arc::new(AtomicUsize::new(0));
    let load = (0..CONNECTIONS).map(|_| async {
        let stream = within(served.tls(NEIGHBOUR, HTTP_2)).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let one_after_the_other = (0..REQUESTS_AT_ONCE).map(|_| {
            let (mut sender, answered) = (sender.clone(), Arc::clone(&answered));
            let shutdown = shutdown.clone();
            async move {
                loop {
                    let request = Request::post("https://localhost/mutate")
                        .body(Full::new(Bytes::from_static(REVIEW.as_bytes())))
                        .unwrap();
                    let response = match within(sender.send_request(request)).await {
                        Ok(response) => response,
                        Err(error) => {
                            assert!(was_not_taken(&error), "{error:?}");
                            assert!(shutdown.has_begun(), "{error:?}");
                            return;
                        }
                    };
                    assert_eq!(response.status(), StatusCode::OK);
                    let body = within(response.into_body().collect()).await.unwrap();
                    assert!(body.to_bytes().ends_with(b"}}"));
                    if answered.fetch_add(1, Ordering::Relaxed) == BEFORE_THE_END {
                        shutdown.begin();
                    }
                }
            }
        });
        join_all(one_after_the_other).await;
    });
    join_all(load).await;
    within(end).await.unwrap().unwrap();
    assert!(answered.load(Ordering::Relaxed) > BEFORE_THE_END);
}
