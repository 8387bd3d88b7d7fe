//! HTTP/1.1 requests that are slow or endless.

use std::time::Duration;

use futures_util::{StreamExt, future::join_all, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::requests::BODY;
use crate::{client::within, hostile::attacker, served::Served};

/// How many bodies of the largest size fill the memory for bodies.
pub const LARGEST_BODIES: usize = 16;
const DRIP: Duration = Duration::from_millis(50);

/// Sends a head with an endless header, and one with endless headers.
pub async fn endless_heads(served: &Served) {
    for line in [
        format!("x: {}\r\n", "y".repeat(1 << 16)),
        "a: b\r\n".to_owned(),
    ] {
        let mut stream = attacker(served).connect().await.unwrap();
        stream
            .write_all(b"POST /mutate HTTP/1.1\r\nhost: localhost\r\n")
            .await
            .unwrap();
        within(async { while stream.write_all(line.as_bytes()).await.is_ok() {} }).await;
    }
}

/// Sends 100 heads and 100 bodies byte by byte, until the server closes the connections.
pub async fn dripping(served: &Served) {
    let heads = join_all((0..100).map(|_| drip(served, "POST /mutate HTTP/1.1\r\nx: ")));
    let bodies = join_all((0..100).map(|_| {
        drip(
            served,
            "POST /mutate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n{",
        )
    }));
    tokio::join!(heads, bodies);
}

/// Sends as many bodies of the largest size as fit into the memory for bodies: all but the last
/// 1,000 bytes at once, and those byte by byte.
pub async fn dripping_largest_bodies(served: &Served) {
    let head =
        format!("POST /mutate HTTP/1.1\r\nhost: localhost\r\ncontent-length: {BODY}\r\n\r\n");
    let start = head + &" ".repeat(BODY - 1000);
    join_all((0..LARGEST_BODIES).map(|_| drip(served, &start))).await;
}

/// Sends this many bodies of the largest size over as many connections, all but the last byte. Returns
/// when the server has what it accepts of them, with the connections still open.
pub async fn unfinished_largest_bodies(served: &Served, count: usize) -> Vec<TlsStream<TcpStream>> {
    let bodies = stream::iter(0..count).map(|_| async {
        let head =
            format!("POST /mutate HTTP/1.1\r\nhost: localhost\r\ncontent-length: {BODY}\r\n\r\n");
        let mut stream = attacker(served).connect().await.unwrap();
        // The server may close the connection meanwhile.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = within(stream.write_all(&vec![b' '; BODY - 1])).await;
        let _ = stream.flush().await;
        stream
    });
    bodies.buffer_unordered(4).collect().await
}

async fn drip(served: &Served, head: &str) {
    let stream = attacker(served).connect().await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let mut pace = tokio::time::interval(DRIP);
    let writing = async {
        write.write_all(head.as_bytes()).await?;
        loop {
            pace.tick().await;
            write.write_all(b"x").await?;
            write.flush().await?;
        }
    };
    let mut answer = Vec::new();
    let reading = read.read_to_end(&mut answer);
    let ended: Result<(), std::io::Error> = within(async {
        tokio::select! {
            ended = writing => ended,
            ended = reading => ended.map(|_| ()),
        }
    })
    .await;
    drop(ended);
}
