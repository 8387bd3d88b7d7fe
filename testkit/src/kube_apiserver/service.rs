//! A Service as the API server sees it: one address for the ready replicas.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

use tokio::{
    net::TcpStream,
    sync::{broadcast, oneshot},
};

use super::free_port;

/// A TCP proxy. As with kube-proxy, a connection keeps its replica, and one to a dead replica fails.
/// is gone fails.
pub struct Service {
    port: u16,
    backends: Arc<Mutex<Vec<SocketAddr>>>,
    close: broadcast::Sender<()>,
    /// Ends the thread when dropped.
    _end: oneshot::Sender<()>,
}

impl Service {
    /// Starts the proxy without a replica.
    pub fn start() -> Self {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let backends = Arc::default();
        let (close, _) = broadcast::channel(1);
        let (end, ended) = oneshot::channel();
        let of_thread = (Arc::clone(&backends), close.clone());
        // A thread with its own runtime, because a shared proxy outlives the test that starts it.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = proxy(listener, of_thread.0, of_thread.1) => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            port,
            backends,
            close,
            _end: end,
        }
    }

    /// Returns its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks all connections.
    pub fn close_connections(&self) {
        // There may be no connections to break.
        let _ = self.close.send(());
    }

    /// Sends new connections to these replicas, in turn.
    pub fn route_to(&self, backends: Vec<SocketAddr>) {
        *self.backends.lock().unwrap() = backends;
    }
}

async fn proxy(
    listener: TcpListener,
    backends: Arc<Mutex<Vec<SocketAddr>>>,
    close: broadcast::Sender<()>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    for turn in 0_usize.. {
        let Ok((mut client, _)) = listener.accept().await else {
            continue;
        };
        let backend = {
            let backends = backends.lock().unwrap();
            let count = backends.len().max(1);
            backends.get(turn % count).copied()
        };
        let Some(backend) = backend else {
            continue;
        };
        let mut closed = close.subscribe();
        tokio::spawn(async move {
            if let Ok(mut server) = TcpStream::connect(backend).await {
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    _ = closed.recv() => {}
                }
            }
        });
    }
}
