//! What a Service is to the API server: one address for the replicas that are ready.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

use tokio::{
    net::TcpStream,
    sync::{broadcast, oneshot},
};

use super::free_port;

/// A proxy of TCP connections. As with kube-proxy, a connection keeps its replica, and one to a replica that
/// is gone fails.
pub struct Service {
    port: u16,
    backends: Arc<Mutex<Vec<SocketAddr>>>,
    close: broadcast::Sender<()>,
    /// Ends the thread when it is dropped.
    _end: oneshot::Sender<()>,
}

impl Service {
    /// Starts it, with no replica yet.
    pub fn start() -> Self {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let backends = Arc::default();
        let (close, _) = broadcast::channel(1);
        let (end, ended) = oneshot::channel();
        let of_thread = (Arc::clone(&backends), close.clone());
        // A thread with a runtime of its own: it outlives the test that starts it, where tests share it.
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

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks all connections.
    pub fn close_connections(&self) {
        // Without a connection nobody listens.
        let _ = self.close.send(());
    }

    /// New connections go there from now on, in turn.
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
