//! A shutdown under load.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes};
use slipway_testkit::{
    client::within,
    served::{REVIEW, serve_until},
};

const CONNECTIONS: usize = 4;
const REQUESTS_AT_ONCE: usize = 8;
const BEFORE_SHUTDOWN: usize = 200;

/// Returns whether the client had not sent the request yet, or the server says it did not accept it.
/// The API server's client retries such a request at another replica.
fn was_not_accepted(error: &hyper::Error) -> bool {
    let says = format!("{error:?}");
    // The last is what h2 says of a request that still waits to be sent when the connection ends.
    let not_accepted = ["NO_ERROR", "REFUSED_STREAM", "broken pipe"];
    error.is_canceled() || not_accepted.iter().any(|reason| says.contains(reason))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_under_load_loses_no_accepted_request() {
    let (served, shutdown, end) = serve_until(|_| {});
    let answered = Arc::new(AtomicUsize::new(0));
    let load = (0..CONNECTIONS).map(|_| async {
        let sender = served.client().http2().await;
        let streams = (0..REQUESTS_AT_ONCE).map(|_| {
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
                            assert!(was_not_accepted(&error), "{error:?}");
                            assert!(shutdown.has_begun(), "{error:?}");
                            return;
                        }
                    };
                    assert_eq!(response.status(), StatusCode::OK);
                    let body = within(response.into_body().collect()).await.unwrap();
                    assert!(body.to_bytes().ends_with(b"}}"));
                    if answered.fetch_add(1, Ordering::Relaxed) == BEFORE_SHUTDOWN {
                        shutdown.begin();
                    }
                }
            }
        });
        join_all(streams).await;
    });
    join_all(load).await;
    within(end).await.unwrap().unwrap();
    assert!(answered.load(Ordering::Relaxed) > BEFORE_SHUTDOWN);
}
