//! Requests that are good, and very many, or as large as they may be.

use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::served::{ATTACKER, HTTP_2, REVIEW, Served, within};

const BODY: usize = 8 << 20;
const CONNECTIONS: usize = 4;
const STREAMS: usize = 64;

/// 2 GiB of blanks, all at once, over a few HTTP/2 connections. Most of them are answered that there
/// was no time.
pub async fn largest_bodies(served: &Served) {
    let body = Bytes::from(vec![b' '; BODY]);
    all_at_once(served, &body, 1).await;
}

/// Reviews as fast as they are answered, over as many streams.
pub async fn reviews(served: &Served) {
    all_at_once(served, &Bytes::from_static(REVIEW.as_bytes()), 100).await;
}

async fn all_at_once(served: &Served, body: &Bytes, on_each_stream: usize) {
    let connections = (0..CONNECTIONS).map(|_| async {
        let sender = connect(served).await;
        let streams = (0..STREAMS).map(|_| {
            let (mut sender, body) = (sender.clone(), body.clone());
            async move {
                for _ in 0..on_each_stream {
                    let request = Request::post("https://localhost/mutate")
                        .body(Full::new(body.clone()))
                        .unwrap();
                    if let Ok(answer) = within(sender.send_request(request)).await {
                        drop(within(answer.into_body().collect()).await);
                    }
                }
            }
        });
        join_all(streams).await;
    });
    join_all(connections).await;
}

async fn connect(served: &Served) -> SendRequest<Full<Bytes>> {
    let stream = within(served.tls(ATTACKER, HTTP_2)).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}
