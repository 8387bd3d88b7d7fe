//! A cap on open connections, which the HTTP server itself does not have.

use std::{
    future::{Ready, ready},
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum_server::accept::Accept;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::metrics::{Metrics, Port, Problem};

/// Lets a bounded number of connections in, before their TLS handshake, and closes those beyond it
/// at once: the API server then goes on without the webhook, instead of waiting out its timeout.
#[derive(Clone)]
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    open: Gauge,
    refused: Counter,
}

impl Gate {
    pub(super) fn new(connections: usize, metrics: &Metrics, port: Port) -> Self {
        let permits = Semaphore::new(connections.min(Semaphore::MAX_PERMITS));
        Self {
            permits: Arc::new(permits),
            open: metrics.connections(port),
            refused: metrics.problems(Problem::ConnectionLimit),
        }
    }

    fn admit(&self, stream: TcpStream) -> io::Result<Connection> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.refused.inc();
            return Err(io::Error::other("too many connections"));
        };
        // Answers are small, and somebody waits for each.
        stream.set_nodelay(true)?;
        self.open.inc();
        Ok(Connection {
            stream,
            open: self.open.clone(),
            _permit: permit,
        })
    }
}

impl<S> Accept<TcpStream, S> for Gate {
    type Stream = Connection;
    type Service = S;
    type Future = Ready<io::Result<(Connection, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(self.admit(stream).map(|connection| (connection, service)))
    }
}

/// A connection that counts as long as it lives.
pub(super) struct Connection {
    stream: TcpStream,
    open: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
