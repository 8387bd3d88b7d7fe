//! A server, and ways to reach it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rcgen::{CertifiedKey, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use slipway::{
    cluster::state::{ClusterState, LiveState},
    metrics::Metrics,
    server::{Config, Server, Shutdown},
    tls::Identity,
};
use slipway_core::{admission::admit, k8s::cluster_file};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub const REVIEW: &str = include_str!("../../../examples/reviews/scale-set-dind.json");
pub const HTTP_1: &[u8] = b"http/1.1";
pub const HTTP_2: &[u8] = b"h2";
/// Ends a test that hangs; nothing is measured against it.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Where attacks come from.
pub const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// Where the API server is.
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A server on loopback.
pub struct Served {
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    pub ca_pem: String,
}

pub fn serve(change: impl FnOnce(&mut Config)) -> Served {
    serve_until(change).0
}

/// A server, and its end.
pub fn serve_until(
    change: impl FnOnce(&mut Config),
) -> (Served, Shutdown, JoinHandle<std::io::Result<()>>) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let identity = Identity::generate(&[], any.ip()).unwrap();
    let state = ClusterState {
        nodes: Some(cluster_file::example_nodes().unwrap().into()),
        namespaces: Some(cluster_file::example_namespaces().unwrap().into()),
        ..ClusterState::default()
    };
    let mut config = Config {
        listen: any,
        metrics_listen: any,
        tls: identity.serving,
        clients: None,
        state: LiveState::new(state).into(),
        metrics: Metrics::new().into(),
        evaluate: admit,
        events: None,
        leaser: None,
        max_connections: 1024,
        request_timeout: Duration::from_secs(4),
        drain_delay: Duration::ZERO,
        drain_timeout: PATIENCE,
    };
    change(&mut config);
    let bound = Server::bind(config).unwrap();
    let served = Served {
        address: bound.address(),
        metrics: bound.metrics_address(),
        ca_pem: identity.ca_pem,
    };
    let shutdown = bound.shutdown();
    (served, shutdown, tokio::spawn(bound.run()))
}

impl Served {
    pub fn connector(
        &self,
        client: Option<&CertifiedKey<KeyPair>>,
        alpn: Option<&[u8]>,
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            None => config.with_no_client_auth(),
            Some(CertifiedKey { cert, signing_key }) => config
                .with_client_auth_cert(
                    vec![cert.der().clone()],
                    PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()),
                )
                .unwrap(),
        };
        config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
        TlsConnector::from(Arc::new(config))
    }

    /// A connection from this address of loopback.
    pub async fn tcp(&self, from: Ipv4Addr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        // Or small writes would wait for acknowledgements.
        socket.set_nodelay(true)?;
        socket.connect(self.address).await
    }

    pub async fn tls(&self, from: Ipv4Addr, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = self.tcp(from).await?;
        let name = ServerName::try_from("localhost").unwrap();
        self.connector(None, Some(alpn)).connect(name, tcp).await
    }

    /// What is answered to these bytes of an attacker over HTTP/1.1, up to the end of the connection.
    pub async fn answer(&self, bytes: &[u8]) -> String {
        let mut stream = self.tls(ATTACKER, HTTP_1).await.unwrap();
        // It may be closed before everything is written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        let mut answer = Vec::new();
        let _ = within(stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The value of a metric.
    pub async fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.metrics).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        let value = answer
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("the test hangs")
}
