//! Handshakes that are broken, unfinished or very many.

use futures_util::{StreamExt, future::join_all, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::{
    client::{HTTP_1, HTTP_2, within},
    hostile::attacker,
    served::Served,
};

/// How many clients connect at the same time.
const AT_ONCE: usize = 100;

/// Returns the ClientHello of a client that supports no TLS version above `version`.
pub fn old_hello(version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    // No session; two cipher suites; no compression; no extensions.
    body.extend([0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

/// Sends other protocols and garbage. Returns the answers.
pub async fn not_tls(served: &Served) -> Vec<Vec<u8>> {
    let large = [22, 3, 1, 0xff, 0xff].repeat(100_000);
    let mut answers = Vec::new();
    for bytes in [
        b"POST /mutate HTTP/1.1\r\nhost: localhost\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        &[0; 4096],
        &[22, 3, 1, 0xff, 0xff],
        &large,
    ] {
        let mut stream = attacker(served).tcp().await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = within(stream.read_to_end(&mut answer)).await;
        answers.push(answer);
    }
    answers
}

/// Begins handshakes and first requests, and waits until the server closes the connections.
pub async fn stopping_half_way(served: &Served) {
    let hello = old_hello([3, 3]);
    let half = &hello[..20];
    let silent = join_all((0..50).map(|_| tcp_that_stops(served, b"")));
    let half_open = join_all((0..50).map(|_| tcp_that_stops(served, half)));
    let idle = join_all([HTTP_1, HTTP_2].map(|alpn| tls_that_stops(served, alpn, b"")));
    let head = b"POST /mutate HTTP/1.1\r\nho";
    let half_a_head = join_all((0..50).map(|_| tls_that_stops(served, HTTP_1, head)));
    let half_a_preface = tls_that_stops(served, HTTP_2, b"PRI * HTTP/2.0\r\n");
    let no_request = tls_that_stops(
        served,
        HTTP_2,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    );
    tokio::join!(
        silent,
        half_open,
        idle,
        half_a_head,
        half_a_preface,
        no_request
    );
}

async fn tcp_that_stops(served: &Served, bytes: &[u8]) {
    let mut stream = attacker(served).tcp().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
}

async fn tls_that_stops(served: &Served, alpn: &[u8], bytes: &[u8]) {
    let client = attacker(served).offering(Some(alpn));
    let mut stream = client.connect().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
}

/// A connection as far as it came: only TCP, or TLS.
pub type Held = (Option<TcpStream>, Option<TlsStream<TcpStream>>);

/// Opens many connections: silent ones, ones with half a hello, and one in 50 with a complete
/// handshake.
pub async fn crowd(served: &Served, size: usize) -> Vec<Held> {
    let connections = stream::iter(0..size).map(|i| async move {
        if i % 50 == 0 {
            let client = attacker(served).offering(Some(HTTP_2));
            return (None, within(client.connect()).await.ok());
        }
        let mut tcp = within(attacker(served).tcp()).await.ok();
        if let (Some(tcp), true) = (&mut tcp, i % 2 == 0) {
            let _ = tcp.write_all(&[22, 3, 1, 1, 0]).await;
        }
        (tcp, None)
    });
    connections.buffer_unordered(AT_ONCE).collect().await
}

/// Completes handshakes as fast as the processor can, and closes each connection at once.
pub async fn handshakes(served: &Served, count: usize) {
    let client = &attacker(served).offering(Some(HTTP_2));
    let connections =
        stream::iter(0..count).map(|_| async move { drop(within(client.connect()).await) });
    connections.buffer_unordered(AT_ONCE).collect::<()>().await;
}
