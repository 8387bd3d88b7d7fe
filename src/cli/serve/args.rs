//! The arguments of `slipway serve`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

use super::{
    in_cluster::InClusterArgs,
    log::{LogFormat, LogLevel},
    standalone::StandaloneArgs,
};
use crate::server::duration;

/// Arguments of `slipway serve`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  slipway serve
      In a cluster, as the Helm chart runs it; outside of one, for the cluster of the current kubeconfig.
  slipway serve --standalone
      Try Slipway on this machine: an example cluster, the built-in policy, and a curl command to paste.
  kubectl get nodes -o yaml > nodes.yaml
  kubectl get namespaces,limitranges,resourcequotas --all-namespaces -o yaml > namespaces.yaml
  slipway serve --standalone --nodes nodes.yaml --namespaces namespaces.yaml --policy policy.yaml
      See what it would do in your cluster, without installing anything there.")]
pub(in crate::cli) struct ServeArgs {
    /// Run without a cluster. Nodes and namespaces come from files or from a built-in example, and the
    /// certificates are created at start.
    #[arg(long, env = "SLIPWAY_STANDALONE")]
    pub standalone: bool,

    /// Address and port of the webhook (HTTPS). Port 0 picks a free port.
    #[arg(
        long,
        env = "SLIPWAY_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8443"
    )]
    pub listen: SocketAddr,

    /// Address and port of the status page, /metrics, /healthz and /readyz (plain HTTP). Port 0 picks a
    /// free port.
    #[arg(
        long,
        env = "SLIPWAY_METRICS_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub metrics_listen: SocketAddr,

    /// Another host name by which clients reach the status page and /metrics, such as an ingress's; can be
    /// repeated. IP addresses, `localhost` and the names of the Service always work; requests for any other
    /// host are refused, so that web pages cannot read the port through a browser.
    #[arg(
        long = "metrics-host",
        env = "SLIPWAY_METRICS_HOSTS",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub metrics_hosts: Vec<String>,

    /// Serve the status page on the metrics port. It shows pods, namespaces, node pools and mirrors to
    /// everyone who can reach the port.
    #[arg(
        long,
        env = "SLIPWAY_STATUS_PAGE",
        value_name = "BOOL",
        default_value = "true",
        action = clap::ArgAction::Set
    )]
    pub status_page: bool,

    /// The policy file [default: the built-in policy]
    #[arg(long, env = "SLIPWAY_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// The directory of certificate files. In a cluster, if others make the certificates: `tls.crt` and
    /// `tls.key` are read from it [default: /etc/slipway/tls]. With --standalone: the CA's certificate is
    /// written to it, for clients to trust; private keys are not [default: certs/dev].
    #[arg(long, env = "SLIPWAY_TLS_DIR", value_name = "DIRECTORY")]
    pub tls_dir: Option<PathBuf>,

    /// The CA of clients, as PEM. Clients of the webhook's port must then present a certificate from this
    /// CA. Use it only if the API server is configured to present one.
    #[arg(long, env = "SLIPWAY_CLIENT_CA", value_name = "FILE")]
    pub client_ca: Option<PathBuf>,

    /// A common name or DNS name that a client's certificate must have; can be repeated, and one match is
    /// enough [default: any certificate of the CA is accepted]
    #[arg(
        long = "client-name",
        env = "SLIPWAY_CLIENT_NAMES",
        value_name = "NAME",
        value_delimiter = ',',
        requires = "client_ca"
    )]
    pub client_names: Vec<String>,

    /// The maximum number of open connections. One more closes the connection that has been idle the
    /// longest, of the address with the most connections.
    #[arg(long, env = "SLIPWAY_MAX_CONNECTIONS", value_name = "COUNT", default_value = "1024", value_parser = count)]
    pub max_connections: usize,

    /// The time within which a request must arrive. The API server's own timeout applies if it is shorter.
    #[arg(long, env = "SLIPWAY_REQUEST_TIMEOUT", value_name = "DURATION", default_value = "4s", value_parser = positive)]
    pub request_timeout: Duration,

    /// After a signal to stop: how long to keep serving while /readyz already fails, so that the cluster
    /// stops sending requests first.
    #[arg(long, env = "SLIPWAY_DRAIN_DELAY", value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub drain_delay: Duration,

    /// After that: how long running requests may take before their connections are closed.
    #[arg(long, env = "SLIPWAY_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "25s", value_parser = duration::parse)]
    pub drain_timeout: Duration,

    /// The format of log lines [default: text on a terminal, JSON otherwise]
    #[arg(long, env = "SLIPWAY_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// The log level; info has a line for each decision
    #[arg(
        long,
        env = "SLIPWAY_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info",
        ignore_case = true
    )]
    pub log_level: LogLevel,

    /// The number of threads that answer requests [default: one for each CPU]
    #[arg(long, env = "SLIPWAY_WORKERS", value_name = "COUNT", value_parser = count)]
    pub workers: Option<usize>,

    #[command(flatten)]
    pub(super) in_cluster: InClusterArgs,

    #[command(flatten)]
    pub(super) standalone_args: StandaloneArgs,
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".to_owned()),
        Ok(count) => Ok(count),
    }
}

pub(in crate::cli) fn positive(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("expected a duration longer than zero".to_owned()),
        duration => Ok(duration),
    }
}
