//! The webhook's HTTP server: its ports, connections and routes. It makes no decisions: it passes the
//! bytes of a review and the cluster state to [`admit`](slipway_core::admission::admit).

mod body;
mod connections;
mod decision_log;
pub mod duration;
mod exposition;
mod hosts;
mod routes;
mod status;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use rustls::ServerConfig;
use slipway_core::{
    admission::{Admission, review::ReviewError},
    decide::Cluster,
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::sleep,
};

use crate::{
    cache_claims::Leaser,
    cluster::{events::Sink, lookup::NamespaceLookup, state::LiveState},
    metrics::{Metrics, Port},
    tls::{ClientCheck, ServingCertificate},
};
use connections::{Listener, Peers};
pub use hosts::Hosts;

/// Enough for scrapers, kubelets and a few people.
const METRICS_CONNECTIONS: usize = 64;
/// How long the last scrape may take after everything else has ended.
const METRICS_DRAIN: Duration = Duration::from_secs(1);

/// The function that answers a review: [`admit`](slipway_core::admission::admit), or a test's own.
pub type Evaluate = for<'a> fn(&'a [u8], Cluster<'a>) -> Result<Admission<'a>, ReviewError>;

/// The configuration of a server.
#[derive(Debug)]
pub struct Config {
    /// Where the webhook listens (HTTPS); port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where metrics and probes are (HTTP); port 0 takes a free one.
    pub metrics_listen: SocketAddr,
    /// The serving certificate, which can be replaced while the server runs.
    pub tls: Arc<ServingCertificate>,
    /// The check of client certificates on the webhook's port; without it any client may connect.
    pub clients: Option<Arc<ClientCheck>>,
    /// The cluster state, kept up to date by watches.
    pub state: Arc<LiveState>,
    /// The metrics, shared with the rest of the program.
    pub metrics: Arc<Metrics>,
    /// The function that answers reviews.
    pub evaluate: Evaluate,
    /// The sink for Events about pods that were left alone.
    pub events: Option<Sink>,
    /// The leaser of pooled claims; without one their pods get the fallback.
    pub leaser: Option<Leaser>,
    /// The look-up of namespaces that the state does not show as opted in.
    pub lookup: Option<NamespaceLookup>,
    /// The most open connections; for one more, another one is closed.
    pub max_connections: usize,
    /// How long a request may take, from its head to its answer.
    pub request_timeout: Duration,
    /// How long the server goes on, unready, after the shutdown began.
    pub drain_delay: Duration,
    /// How long requests in flight may then take.
    pub drain_timeout: Duration,
}

/// A reason why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, or not ours to take.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The TLS library refuses the configuration.
    #[error("failed to set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// The state that all requests share.
struct App {
    state: Arc<LiveState>,
    evaluate: Evaluate,
    events: Option<Sink>,
    leaser: Option<Leaser>,
    lookup: Option<NamespaceLookup>,
    metrics: Arc<Metrics>,
    certificate: Arc<ServingCertificate>,
    request_timeout: Duration,
    /// Held while a large review is evaluated: one at a time.
    large: Arc<Semaphore>,
    shutdown: Shutdown,
    status: status::State,
    /// The names by which the metrics port is reached.
    hosts: Hosts,
}

impl App {
    fn not_ready_because(&self) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        if self.shutdown.has_begun() {
            reasons.push("it is shutting down");
        }
        reasons.extend(self.certificate.not_ready_because());
        reasons.extend(self.state.load().missing());
        reasons
    }
}

/// A handle that ends a server and what runs beside it; clones end the same one.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(watch::Sender<bool>);

impl Shutdown {
    /// Begins the shutdown: the server is unready from now on, then drained, then closed.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Returns whether the shutdown has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the shutdown begins.
    pub async fn begun(&self) {
        // The sender is part of `self`: it is there as long as this waits.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }
}

/// A server that has bound its ports, and accepts connections once it runs.
pub struct Server {
    app: App,
    webhook: (TcpListener, SocketAddr),
    metrics: (TcpListener, SocketAddr),
    tls: Arc<ServerConfig>,
    max_connections: usize,
    drain_delay: Duration,
    drain_timeout: Duration,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("webhook", &self.webhook.1)
            .field("metrics", &self.metrics.1)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Binds the ports.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        let webhook = listen(config.listen)?;
        let metrics_listener = listen(config.metrics_listen)?;
        let tls = config.tls.server_config(config.clients)?;
        let app = App {
            state: config.state,
            evaluate: config.evaluate,
            events: config.events,
            leaser: config.leaser,
            lookup: config.lookup,
            metrics: config.metrics,
            certificate: config.tls,
            request_timeout: config.request_timeout,
            large: Arc::new(Semaphore::new(1)),
            shutdown: Shutdown::default(),
            status: status::State::default(),
            hosts: Hosts::default(),
        };
        Ok(Self {
            app,
            webhook,
            metrics: metrics_listener,
            tls,
            max_connections: config.max_connections,
            drain_delay: config.drain_delay,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Sets the name that the status page shows, so that people can tell replicas apart.
    #[must_use]
    pub fn named(mut self, replica: String) -> Self {
        self.app.status.replica = Some(replica);
        self
    }

    /// Sets the names by which the metrics port is reached, beside IP addresses and `localhost`.
    #[must_use]
    pub fn reached_as(mut self, hosts: Hosts) -> Self {
        self.app.hosts = hosts;
        self
    }

    /// Leaves the status page out; metrics and probes stay.
    #[must_use]
    pub fn without_status_page(mut self) -> Self {
        self.app.status.shown = false;
        self
    }

    /// Returns the address of the webhook.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.webhook.1
    }

    /// Returns the address of metrics and probes.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics.1
    }

    /// Returns the handle that ends it.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.app.shutdown.clone()
    }

    /// Serves until the shutdown is complete. The metrics' port outlives the webhook's, so that
    /// probes and the last scrape are answered to the end.
    ///
    /// # Errors
    /// When a listener cannot be used.
    pub async fn run(self) -> io::Result<()> {
        // As a task, so that accepting shares the workers' queues with the connections.
        let mut serving = JoinSet::new();
        serving.spawn(self.serve());
        match serving.join_next().await {
            Some(ended) => ended?,
            None => Ok(()),
        }
    }

    async fn serve(self) -> io::Result<()> {
        let app = Arc::new(self.app);
        let peers = Peers::new(self.max_connections, &app.metrics, Port::Webhook);
        let webhook = Listener::new(self.webhook.0, Some(self.tls), peers)?;
        let peers = Peers::new(METRICS_CONNECTIONS, &app.metrics, Port::Metrics);
        let metrics = Listener::new(self.metrics.0, None, peers)?;

        let (webhook_ends, metrics_end) = (Shutdown::default(), Shutdown::default());
        let drain = async {
            app.shutdown.begun().await;
            sleep(self.drain_delay).await;
            webhook_ends.begin();
        };
        let router = routes::webhook(Arc::clone(&app));
        let serve_webhook = webhook.serve(router, webhook_ends.clone(), self.drain_timeout);
        let webhook_then_metrics = async {
            tokio::join!(serve_webhook, drain);
            metrics_end.begin();
        };
        let router = routes::metrics(Arc::clone(&app));
        let serve_metrics = metrics.serve(router, metrics_end.clone(), METRICS_DRAIN);
        tokio::join!(webhook_then_metrics, serve_metrics);
        Ok(())
    }
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
