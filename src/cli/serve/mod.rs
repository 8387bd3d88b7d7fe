//! `slipway serve`: the webhook.

mod in_cluster;
mod log;
mod standalone;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use clap::Args;
use rustls::crypto::aws_lc_rs;
use slipway_core::{admission::admit, policy::Policy};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::{
    cache_claims::Leaser,
    cluster::{
        events::Sink,
        state::{LiveState, PolicyLoad},
    },
    metrics::Metrics,
    server::{Config, Server, Shutdown, duration},
    tls::{ClientCheck, ServingCertificate},
};
use in_cluster::InClusterArgs;
pub use log::LogFormat;
use standalone::{StandaloneArgs, read};

/// Arguments of `slipway serve`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  slipway serve
      In a cluster, as the Helm chart runs it; or against the cluster of the present kubeconfig.
  slipway serve --standalone
      Try Slipway on this machine: an example cluster, the built-in policy, and a curl line to paste.
  kubectl get nodes -o yaml > nodes.yaml
  kubectl get namespaces,limitranges,resourcequotas --all-namespaces -o yaml > namespaces.yaml
  slipway serve --standalone --nodes nodes.yaml --namespaces namespaces.yaml --policy policy.yaml
      See what it would do in your cluster, without installing anything there.")]
pub(super) struct ServeArgs {
    /// Run without a cluster: nodes and namespaces come from files, or from a built-in example, and
    /// the certificates are made at start.
    #[arg(long, env = "SLIPWAY_STANDALONE")]
    pub standalone: bool,

    /// Address and port of the webhook (HTTPS). Port 0 takes a free one.
    #[arg(
        long,
        env = "SLIPWAY_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8443"
    )]
    pub listen: SocketAddr,

    /// Address and port of the status page, /metrics, /healthz and /readyz (plain HTTP). Port 0 takes
    /// a free one.
    #[arg(
        long,
        env = "SLIPWAY_METRICS_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub metrics_listen: SocketAddr,

    /// Whether the metrics' port has the status page. It names pods, namespaces, nodes' pools and
    /// mirrors to whoever reaches the port.
    #[arg(
        long,
        env = "SLIPWAY_STATUS_PAGE",
        value_name = "BOOL",
        default_value = "true",
        action = clap::ArgAction::Set
    )]
    pub status_page: bool,

    /// The policy: which pods get what. Without it: the built-in policy.
    #[arg(long, env = "SLIPWAY_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// Where certificate files are. In a cluster, with certificates that others make: the
    /// directory from which `tls.crt` and `tls.key` are read [default: /etc/slipway/tls]. With
    /// --standalone: where the CA's certificate is written for clients to trust, without any
    /// private key [default: certs/dev].
    #[arg(long, env = "SLIPWAY_TLS_DIR", value_name = "DIRECTORY")]
    pub tls_dir: Option<PathBuf>,

    /// The CA of clients, as PEM. With it, clients of the webhook's port must show a certificate of
    /// this CA. Only for API servers that are told to show one.
    #[arg(long, env = "SLIPWAY_CLIENT_CA", value_name = "FILE")]
    pub client_ca: Option<PathBuf>,

    /// A common name or DNS name that a client's certificate must have; can be repeated, and one of
    /// them is enough. Without it, every certificate of the CA will do.
    #[arg(
        long = "client-name",
        env = "SLIPWAY_CLIENT_NAMES",
        value_name = "NAME",
        value_delimiter = ',',
        requires = "client_ca"
    )]
    pub client_names: Vec<String>,

    /// How many connections may be open at once. For one more, the address with the most of them
    /// loses the one that was idle the longest.
    #[arg(long, env = "SLIPWAY_MAX_CONNECTIONS", value_name = "COUNT", default_value = "1024", value_parser = count)]
    pub max_connections: usize,

    /// How long a request may take to arrive. The API server's own timeout counts if it is shorter.
    #[arg(long, env = "SLIPWAY_REQUEST_TIMEOUT", value_name = "DURATION", default_value = "4s", value_parser = positive)]
    pub request_timeout: Duration,

    /// After a signal to end: how long to serve on while /readyz already says no, so that the
    /// cluster stops sending requests first.
    #[arg(long, env = "SLIPWAY_DRAIN_DELAY", value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub drain_delay: Duration,

    /// How long requests may then still take before their connections are closed.
    #[arg(long, env = "SLIPWAY_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "25s", value_parser = duration::parse)]
    pub drain_timeout: Duration,

    /// How log lines look. Without it: text on a terminal, JSON otherwise.
    #[arg(long, env = "SLIPWAY_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What is logged: error, warn, info (one line a decision), debug or trace.
    #[arg(
        long,
        env = "SLIPWAY_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub log_level: String,

    /// How many threads answer requests. Without it: one for each CPU.
    #[arg(long, env = "SLIPWAY_WORKERS", value_name = "COUNT", value_parser = count)]
    pub workers: Option<usize>,

    #[command(flatten)]
    cluster: InClusterArgs,

    #[command(flatten)]
    standalone_args: StandaloneArgs,
}

impl ServeArgs {
    fn server_config(
        &self,
        tls: Arc<ServingCertificate>,
        state: Arc<LiveState>,
        metrics: Arc<Metrics>,
        events: Option<Sink>,
        leaser: Option<Leaser>,
    ) -> anyhow::Result<Config> {
        Ok(Config {
            listen: self.listen,
            metrics_listen: self.metrics_listen,
            tls,
            clients: self.client_check()?,
            state,
            metrics,
            evaluate: admit,
            events,
            leaser,
            max_connections: self.max_connections,
            request_timeout: self.request_timeout,
            drain_delay: self.drain_delay,
            drain_timeout: self.drain_timeout,
        })
    }

    /// The server, with its ports.
    fn bind(&self, config: Config) -> anyhow::Result<Server> {
        let server = Server::bind(config)
            .context("failed to start; --listen and --metrics-listen choose other addresses")?;
        Ok(if self.status_page {
            server
        } else {
            server.without_status_page()
        })
    }

    fn client_check(&self) -> anyhow::Result<Option<Arc<ClientCheck>>> {
        let Some(path) = &self.client_ca else {
            return Ok(None);
        };
        let check = ClientCheck::new(read(path)?.as_bytes(), self.client_names.clone())
            .with_context(|| format!("failed to use {}", path.display()))?;
        Ok(Some(Arc::new(check)))
    }
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("it must be a whole number from 1".to_owned()),
        Ok(count) => Ok(count),
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("it must be longer than nothing".to_owned()),
        duration => Ok(duration),
    }
}

/// Starts the runtime that the arguments ask for, and runs the command in it.
///
/// # Errors
/// When there are no threads to be had, a file cannot be used, an address not be had, or the cluster
/// is not there.
pub fn start(args: &ServeArgs) -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = args.workers {
        runtime.worker_threads(workers);
    }
    let runtime = runtime
        .enable_all()
        .build()
        .context("failed to start worker threads")?;
    // Fails only when it is set already, by whoever embeds this.
    let _ = aws_lc_rs::default_provider().install_default();
    log::start(args)?;
    if args.standalone {
        runtime.block_on(standalone::run(args))
    } else {
        runtime.block_on(in_cluster::run(args))
    }
}

/// Where the policy comes from.
fn policy_load(args: &ServeArgs) -> PolicyLoad {
    let file = args.policy.as_ref().map(|path| path.display().to_string());
    PolicyLoad {
        file: file.map(Into::into),
        in_force_since: Some(SystemTime::now()),
        refused_at: None,
    }
}

/// The policy, and its text.
fn policy(args: &ServeArgs) -> anyhow::Result<(Policy, String)> {
    let (policy, text) = match &args.policy {
        Some(path) => {
            let text = read(path)?;
            let policy = Policy::parse(&text).with_context(|| path.display().to_string())?;
            (policy, text)
        }
        None => (Policy::default(), String::new()),
    };
    for warning in policy.warnings() {
        warn!(warning, "policy");
    }
    Ok((policy, text))
}

fn end_on_signal(shutdown: Shutdown) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to await SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to await SIGINT")?;
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "shutting down");
        shutdown.begin();
    });
    Ok(())
}
