//! The port: accepts connections, and breaks them when the server is stopped.

use std::net::SocketAddr;

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::{AbortHandle, JoinSet},
};

use super::{ApiServer, answer::answer, locked};

/// The listening task; its connections end with it.
#[derive(Debug)]
pub struct Listener(AbortHandle);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Binds a port, even if it was in use a moment ago.
pub fn bind(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(128).unwrap()
}

impl ApiServer {
    /// Closes the port and all connections. The objects stay.
    pub async fn stop(&self) {
        let listener = locked(&self.0.listener).take();
        let task = listener.as_ref().map(|listener| listener.0.clone());
        drop(listener);
        // The port is free only once the task has ended.
        while task.as_ref().is_some_and(|task| !task.is_finished()) {
            tokio::task::yield_now().await;
        }
    }

    /// Listens again, on the same port.
    pub fn resume(&self) {
        self.accept_on(bind(self.address()));
    }

    pub(super) fn accept_on(&self, listener: TcpListener) {
        let server = self.clone();
        let task = tokio::spawn(async move {
            // Dropped with this task, which closes the connections.
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                connections.spawn(serve(server.clone(), stream));
                while connections.try_join_next().is_some() {}
            }
        });
        *locked(&self.0.listener) = Some(Listener(task.abort_handle()));
    }
}

async fn serve(server: ApiServer, stream: TcpStream) {
    let service = service_fn(move |request| answer(server.clone(), request));
    // An error means that the client or the test closed the connection.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
