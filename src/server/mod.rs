//! The webhook as a server: TLS, connections, routes, metrics. It knows nothing of decisions; it
//! passes bytes to [`admit`](slipway_core::admission::admit) and the cluster state with them.

mod body;
mod connections;
pub mod duration;
mod exposition;
mod routes;
mod status;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum_server::{
    Handle,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use slipway_core::{
    admission::{Admission, review::ReviewError},
    decide::Cluster,
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tracing::debug;

use crate::{
    cache_claims::Leaser,
    cluster::{events::Sink, state::LiveState},
    metrics::{Metrics, Port},
    tls::{ClientCheck, ServingCertificate},
};
use connections::{Gate, OneByOne};

/// A TLS handshake, and then the head of the first request, take no longer.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// An idle HTTP/1.1 connection is closed after this: later than clients written in Go close their
/// side (90 s), or a request could cross the close on its way.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How often an HTTP/2 connection is asked whether it still lives …
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// … and how long it may think about that.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// As few as RFC 9113 (6.5.2) recommends; a client with more to ask connects once more.
const MAX_STREAMS: u32 = 100;
/// What an HTTP/2 connection may send before it is read, and one stream of it: enough for a review.
/// It is memory that every connection can take.
const CONNECTION_WINDOW: u32 = 128 << 10;
const STREAM_WINDOW: u32 = 64 << 10;
/// The same for HTTP/1.1.
const READ_BUFFER: usize = 64 << 10;
const MAX_HEADERS: u32 = 16 << 10;
/// Scrapers and kubelets.
const METRICS_CONNECTIONS: usize = 64;
/// What is left of a scrape when everything else is done.
const METRICS_DRAIN: Duration = Duration::from_secs(1);

/// What answers a request body: [`admit`](slipway_core::admission::admit), or what a test puts in its place.
pub type Evaluate = for<'a> fn(&'a [u8], Cluster<'a>) -> Result<Admission<'a>, ReviewError>;

/// How a server is to run.
#[derive(Debug)]
pub struct Config {
    /// Where the webhook listens (HTTPS); port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where metrics and probes are (HTTP); port 0 takes a free one.
    pub metrics_listen: SocketAddr,
    /// The certificate that is shown, and replaced by others.
    pub tls: Arc<ServingCertificate>,
    /// Who may connect to the webhook's port; everybody without it.
    pub clients: Option<Arc<ClientCheck>>,
    /// What is known of the cluster, and kept up to date by others.
    pub state: Arc<LiveState>,
    /// What is counted, by this server and by others.
    pub metrics: Arc<Metrics>,
    /// What answers.
    pub evaluate: Evaluate,
    /// Where to tell of pods that were left alone.
    pub events: Option<Sink>,
    /// Who leases claims of pools; without one their pods get the fallback.
    pub leaser: Option<Leaser>,
    /// For a connection beyond this, another one is closed.
    pub max_connections: usize,
    /// How long a request may take to arrive.
    pub request_timeout: Duration,
    /// How long to serve on, unready, after the shutdown began.
    pub drain_delay: Duration,
    /// How long requests may then still take.
    pub drain_timeout: Duration,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be had.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The TLS library refuses.
    #[error("failed to set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// What all requests share.
struct App {
    state: Arc<LiveState>,
    evaluate: Evaluate,
    events: Option<Sink>,
    leaser: Option<Leaser>,
    metrics: Arc<Metrics>,
    certificate: Arc<ServingCertificate>,
    request_timeout: Duration,
    /// The turn to look at a large request.
    large: Arc<Semaphore>,
    shutdown: Shutdown,
    status: status::State,
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

/// Ends a server, and what runs beside it; clones end the same one.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(watch::Sender<bool>);

impl Shutdown {
    /// Begins the end: unready from now on, then drained, then closed.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it begins.
    pub async fn begun(&self) {
        // The sender is part of `self`: it is there as long as this waits.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }
}

/// A server that has its ports, and accepts connections once it runs.
pub struct Server {
    app: App,
    webhook: (TcpListener, SocketAddr),
    metrics: (TcpListener, SocketAddr),
    tls: RustlsConfig,
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
    /// Takes the ports.
    ///
    /// # Errors
    /// When one is taken already, or not ours to take.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        let webhook = listen(config.listen)?;
        let metrics_listener = listen(config.metrics_listen)?;
        let tls = RustlsConfig::from_config(config.tls.server_config(config.clients)?);
        let app = App {
            state: config.state,
            evaluate: config.evaluate,
            events: config.events,
            leaser: config.leaser,
            metrics: config.metrics,
            certificate: config.tls,
            request_timeout: config.request_timeout,
            large: Arc::new(Semaphore::new(1)),
            shutdown: Shutdown::default(),
            status: status::State::default(),
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

    /// Gives it a name, by which people tell the status pages of replicas apart.
    #[must_use]
    pub fn named(mut self, replica: String) -> Self {
        self.app.status.replica = Some(replica);
        self
    }

    /// Leaves the status page out; metrics and probes stay.
    #[must_use]
    pub fn without_status_page(mut self) -> Self {
        self.app.status.shown = false;
        self
    }

    /// Where the webhook listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.webhook.1
    }

    /// Where metrics and probes are.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics.1
    }

    /// Its end.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.app.shutdown.clone()
    }

    /// Serves until the shutdown is through. The metrics' port outlives the webhook's, so that
    /// probes and the last scrape are answered to the end.
    ///
    /// # Errors
    /// When a listener breaks.
    pub async fn run(self) -> io::Result<()> {
        let app = Arc::new(self.app);
        let webhook = Handle::new();
        let gate = Gate::new(self.max_connections, &app.metrics, Port::Webhook);
        let acceptor = RustlsAcceptor::new(self.tls)
            .handshake_timeout(GREETING_TIMEOUT)
            .acceptor(gate);
        let service = routes::webhook(Arc::clone(&app)).into_make_service();
        let https = http(self.webhook.0, &webhook, acceptor)?;
        let serve_webhook = as_task(https.serve(OneByOne::new(service)));

        let metrics = Handle::new();
        let gate = Gate::new(METRICS_CONNECTIONS, &app.metrics, Port::Metrics);
        let serve_metrics = http(self.metrics.0, &metrics, gate)?
            .serve(routes::metrics(Arc::clone(&app)).into_make_service());

        let drain = async {
            app.shutdown.begun().await;
            tokio::time::sleep(self.drain_delay).await;
            webhook.graceful_shutdown(Some(self.drain_timeout));
            Ok(())
        };
        let webhook_then_metrics = async {
            let served = tokio::try_join!(serve_webhook, drain);
            metrics.graceful_shutdown(Some(METRICS_DRAIN));
            served
        };
        tokio::try_join!(webhook_then_metrics, serve_metrics)?;
        Ok(())
    }
}

/// Runs it as a task, which is dropped with this. Whatever is no task has a thread to itself, and
/// takes no turns with the others.
async fn as_task(future: impl Future<Output = io::Result<()>> + Send + 'static) -> io::Result<()> {
    let mut task = JoinSet::new();
    task.spawn(future);
    match task.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// An HTTP server on the listener, with limits on what connections may take.
fn http<A>(
    listener: TcpListener,
    handle: &Handle<SocketAddr>,
    acceptor: A,
) -> io::Result<axum_server::Server<SocketAddr, A>> {
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(acceptor)
        .handle(handle.clone())
        .first_request_timeout(GREETING_TIMEOUT)
        .accept_error_handler(|peer: Option<&SocketAddr>, error| {
            debug!(?peer, %error, "connection not accepted");
        });
    let builder = server.http_builder();
    builder
        .http1()
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(READ_BUFFER);
    builder
        .http2()
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_header_list_size(MAX_HEADERS);
    Ok(server)
}
