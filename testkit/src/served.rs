//! A server on loopback, and the clients that reach it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use slipway::{
    cluster::state::{ClusterState, LiveState},
    metrics::Metrics,
    server::{Config, Server, Shutdown},
    tls::Identity,
};
use slipway_core::{admission::admit, k8s::cluster_file};
use tokio::task::JoinHandle;

use crate::client::{PATIENCE, Reply, TlsClient, get, send_plain};

/// A review of a pod that Slipway patches.
pub const REVIEW: &str = include_str!("../../examples/reviews/scale-set-dind.json");
/// A name in the server's certificate, beside the addresses of loopback.
pub const SERVER_NAME: &str = "ci.example";

/// A server, in this process or in another.
pub struct Served {
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    pub ca_pem: String,
}

/// Returns the configuration of a server on free ports of loopback that knows the example nodes and
/// namespaces, and its CA certificate as PEM.
pub fn config() -> (Config, String) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let identity = Identity::generate(&[SERVER_NAME.to_owned()], any.ip()).unwrap();
    let state = ClusterState {
        nodes: Some(cluster_file::example_nodes().unwrap().into()),
        namespaces: Some(cluster_file::example_namespaces().unwrap().into()),
        ..ClusterState::default()
    };
    let config = Config {
        listen: any,
        metrics_listen: any,
        tls: identity.serving,
        clients: None,
        state: LiveState::new(state).into(),
        metrics: Metrics::new().into(),
        evaluate: admit,
        events: None,
        leaser: None,
        lookup: None,
        max_connections: 1024,
        request_timeout: Duration::from_secs(4),
        drain_delay: Duration::ZERO,
        drain_timeout: PATIENCE,
    };
    (config, identity.ca_pem)
}

/// Starts a server, which runs until the test ends.
pub fn serve(change: impl FnOnce(&mut Config)) -> Served {
    serve_until(change).0
}

/// Starts a server, and returns it with what ends it and its result.
pub fn serve_until(
    change: impl FnOnce(&mut Config),
) -> (Served, Shutdown, JoinHandle<io::Result<()>>) {
    let (mut config, ca_pem) = config();
    change(&mut config);
    let bound = Server::bind(config).unwrap();
    let served = Served {
        address: bound.address(),
        metrics: bound.metrics_address(),
        ca_pem,
    };
    let shutdown = bound.shutdown();
    (served, shutdown, tokio::spawn(bound.run()))
}

impl Served {
    /// Returns a client of the webhook port.
    pub fn client(&self) -> TlsClient {
        TlsClient::new(self.address, &self.ca_pem)
    }

    /// Gets a path from the metrics port.
    pub async fn get(&self, path: &str) -> Reply {
        send_plain(self.metrics, get(path)).await
    }

    /// Returns the value of a counter or gauge that is exposed from the start.
    pub async fn metric(&self, series: &str) -> u64 {
        let exposed = self.get("/metrics").await.body;
        let mut lines = exposed.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no {series} in\n{exposed}"));
        value.parse().unwrap()
    }
}
