//! The connections of a port: accepted, bounded, served, and closed when others need the room.
//!
//! | what is bounded | for | at the limit |
//! | --- | --- | --- |
//! | open connections | all clients | the address with the most of them loses its longest idle one |
//! | TLS handshakes, requests in flight | each address | the next one waits |
//! | request bodies and unread answers, in bytes | all clients | the address that holds the most loses the connection that holds the most |
//! | time until the first request, and between requests | each connection | it is closed |
//!
//! [`Listener`] accepts and serves, [`Peers`] knows who is connected and picks who has to go,
//! [`Connection`] is what is counted, and [`answers`] counts answers until they are written.

mod answers;
mod connection;
mod peers;

use std::{convert::Infallible, io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, http::Request, response::Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};
use tokio_rustls::LazyConfigAcceptor;
use tower_service::Service;
use tracing::debug;

use super::Shutdown;
use answers::Unread;
pub(super) use connection::{Connection, Held, Memory};
pub(super) use peers::Peers;

/// The TLS handshake and the head of the first request take no longer.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// An idle HTTP/1.1 connection is closed after this: later than clients written in Go close their
/// side (90 s), or a request could cross the close on its way.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How often an HTTP/2 connection is pinged …
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// … and how long the answer may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The smallest number that RFC 9113 (6.5.2) recommends; a client that needs more connects again.
const MAX_STREAMS: u32 = 100;
/// How much an HTTP/2 connection, and one stream of it, may send ahead: enough for a review. Every
/// connection can make the server keep that much.
const CONNECTION_WINDOW: u32 = 128 << 10;
const STREAM_WINDOW: u32 = 64 << 10;
/// The same for HTTP/1.1.
const READ_BUFFER: usize = 64 << 10;
const MAX_HEADERS: u32 = 16 << 10;
/// What is read from the socket at once under TLS, whose library asks for 4 KiB at a time: a review
/// then takes one system call instead of five.
const READ_AHEAD: usize = 20 << 10;
/// The pause after a failed `accept`, which fails for as long as there are no file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

const HTTP2: &[u8] = b"h2";

/// A port that accepts connections, with or without TLS.
pub(super) struct Listener {
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    peers: Arc<Peers>,
}

impl Listener {
    pub(super) fn new(
        socket: std::net::TcpListener,
        tls: Option<Arc<ServerConfig>>,
        peers: Peers,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: TcpListener::from_std(socket)?,
            tls,
            peers: Arc::new(peers),
        })
    }

    /// Serves until `drain` begins. From then on nothing is accepted, idle connections are closed,
    /// and busy ones have until `drain_timeout` to finish.
    pub(super) async fn serve(self, router: Router, drain: Shutdown, drain_timeout: Duration) {
        let Self { socket, tls, peers } = self;
        let mut connections = JoinSet::new();
        let mut draining = pin!(drain.begun());
        loop {
            let accepted = tokio::select! {
                () = &mut draining => break,
                Some(_) = connections.join_next() => continue,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let serving = Serving {
                        router: router.clone(),
                        tls: tls.clone(),
                        drain: drain.clone(),
                    };
                    let address = address.ip().to_canonical();
                    connections.spawn(serving.serve(Arc::clone(&peers), stream, address));
                    // Requests that are ready go before the next connection of a crowd.
                    yield_now().await;
                }
                Err(error) => {
                    debug!(%error, "no connection accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
        drop(socket);
        let drained = async { while connections.join_next().await.is_some() {} };
        // Those that are left are closed with the set.
        let _ = timeout(drain_timeout, drained).await;
    }
}

/// What it takes to serve one connection.
struct Serving {
    router: Router,
    tls: Option<Arc<ServerConfig>>,
    drain: Shutdown,
}

impl Serving {
    /// Serves the connection to its end, which comes early when others need the room or when no
    /// request came in time.
    async fn serve(self, peers: Arc<Peers>, stream: TcpStream, peer: IpAddr) {
        let Some(admitted) = peers.admit(peer) else {
            debug!(%peer, "connection refused: there are too many, and none can be closed for it");
            return;
        };
        let connection = admitted.connection();
        let ended = tokio::select! {
            biased;
            () = connection.must_close(FIRST_REQUEST_TIMEOUT) => return,
            ended = self.handshake_and_serve(stream, connection) => ended,
        };
        if let Err(error) = ended {
            debug!(%peer, %error, "connection failed");
        }
    }

    async fn handshake_and_serve(
        self,
        stream: TcpStream,
        connection: &Arc<Connection>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        // Answers are small, and somebody waits for each.
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(self.serve_http(stream, false, connection).await?);
        };
        let stream = BufReader::with_capacity(READ_AHEAD, stream);
        let handshake = async {
            // A client that does not send its hello takes nothing from others at its address.
            let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
            let _in_progress = connection.handshake().await;
            hello.into_stream(Arc::clone(tls)).await
        };
        let stream = tokio::select! {
            stream = handshake => stream?,
            () = self.drain.begun() => return Ok(()),
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        Ok(self.serve_http(stream, is_http2, connection).await?)
    }

    async fn serve_http(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        is_http2: bool,
        connection: &Arc<Connection>,
    ) -> Result<(), hyper::Error> {
        let Self { router, drain, .. } = self;
        let connection = Arc::clone(connection);
        let service =
            service_fn(move |request| answer(router.clone(), Arc::clone(&connection), request));
        let stream = TokioIo::new(stream);
        if is_http2 {
            let http2 = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .max_concurrent_streams(MAX_STREAMS)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .initial_stream_window_size(STREAM_WINDOW)
                .max_header_list_size(MAX_HEADERS)
                .serve_connection(stream, service);
            until_drained(http2, &drain).await
        } else {
            let http1 = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE_TIMEOUT)
                .max_buf_size(READ_BUFFER)
                .serve_connection(stream, service);
            until_drained(http1, &drain).await
        }
    }
}

/// Drives the connection. When the drain begins, it ends after the answers to what it asked.
async fn until_drained<C: GracefulConnection>(
    serving: C,
    drain: &Shutdown,
) -> Result<(), C::Error> {
    let mut serving = pin!(serving);
    tokio::select! {
        biased;
        ended = &mut serving => return ended,
        () = drain.begun() => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}

/// Answers a request, which knows its connection. The answer counts until it is written.
async fn answer(
    mut router: Router,
    connection: Arc<Connection>,
    mut request: Request<Incoming>,
) -> Result<Response<Unread>, Infallible> {
    let busy = connection.begin_request();
    request.extensions_mut().insert(Arc::clone(&connection));
    let answer = router.call(request).await?;
    drop(busy);
    Ok(answer.map(|body| Unread::new(body, &connection)))
}
