//! The well-behaved client: sends what an API server sends while another client attacks.

use std::{
    pin::pin,
    thread,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http2::SendRequest};

use crate::{
    client::within,
    served::{REVIEW, Served},
};

/// How many calls are made before and after an attack.
const CALLS: usize = 100;
/// How many calls share a connection.
pub const CALLS_A_CONNECTION: usize = 10;

/// Runs the attack, and the well-behaved client before, during and after it. None of its calls may
/// fail.
pub async fn beside<T>(served: &Served, attack: impl Future<Output = T>) -> T {
    let mut kept = served.client().http2().await;
    let mut before = Vec::new();
    for call in 0..CALLS {
        before.push(one(served, &mut kept, call).await);
    }
    let mut attack = pin!(attack);
    let mut during = Vec::new();
    let result = loop {
        let mut call = pin!(one(served, &mut kept, during.len()));
        tokio::select! {
            took = &mut call => during.push(took),
            result = &mut attack => {
                during.push(call.await);
                break result;
            }
        }
    };
    println!(
        "{}: {} calls beside it, none failed; p50 {:?}, p99 {:?}; before it: p50 {:?}, p99 {:?}",
        thread::current().name().unwrap_or_default(),
        during.len(),
        percentile(&mut during, 50),
        percentile(&mut during, 99),
        percentile(&mut before, 50),
        percentile(&mut before, 99),
    );
    for call in 0..CALLS {
        one(served, &mut kept, call).await;
    }
    result
}

/// Returns the time within which `percent` percent of the calls were answered.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

/// Makes one call: over the kept connection, which must stay open, or one in ten over a new one.
async fn one(served: &Served, kept: &mut SendRequest<Full<Bytes>>, call: usize) -> Duration {
    let begin = Instant::now();
    if call.is_multiple_of(CALLS_A_CONNECTION) {
        review(&mut served.client().http2().await).await;
    } else {
        review(kept).await;
    }
    begin.elapsed()
}

/// Sends a review, which must be answered with a patch.
pub async fn review(client: &mut SendRequest<Full<Bytes>>) {
    let request = Request::post("https://localhost/mutate?timeout=5s")
        .body(Full::new(Bytes::from_static(REVIEW.as_bytes())))
        .unwrap();
    let response = within(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = within(response.into_body().collect()).await.unwrap();
    let review: serde_json::Value = serde_json::from_slice(&body.to_bytes()).unwrap();
    assert_eq!(review["response"]["patchType"], "JSONPatch");
}
