//! `slipway serve`: the webhook.

use std::{
    fmt::Write as _,
    fs,
    io::{self, IsTerminal, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use rustls::crypto::aws_lc_rs;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::{
    admit::admit,
    fleet,
    nodes::Snapshot,
    policy::Policy,
    server::{Config, Facts, Server, Shutdown, duration, tls::Identity},
};

const REVIEW: &str = include_str!("../../examples/reviews/scale-set-dind.json");
const CA_FILE: &str = "ca.crt";
const REVIEW_FILE: &str = "review.json";

/// Arguments of `slipway serve`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  slipway serve --standalone
      Try Slipway on this machine: an example cluster, the built-in policy, and a curl line to paste.
  kubectl get nodes -o yaml > nodes.yaml
  kubectl get namespaces,limitranges --all-namespaces -o yaml > namespaces.yaml
  slipway serve --standalone --nodes nodes.yaml --namespaces namespaces.yaml --policy policy.yaml
      See what it would do in your cluster, without installing anything there.")]
pub struct ServeArgs {
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

    /// Address and port of /metrics, /healthz and /readyz (plain HTTP). Port 0 takes a free one.
    #[arg(
        long,
        env = "SLIPWAY_METRICS_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub metrics_listen: SocketAddr,

    /// The cluster's nodes, as `kubectl get nodes -o yaml` (or json) prints them. Without it: a
    /// built-in example.
    #[arg(long, env = "SLIPWAY_NODES", value_name = "FILE")]
    pub nodes: Option<PathBuf>,

    /// Its namespaces and LimitRanges, as `kubectl get namespaces,limitranges --all-namespaces -o
    /// yaml` (or json) prints them. Without it: a built-in example.
    #[arg(long, env = "SLIPWAY_NAMESPACES", value_name = "FILE")]
    pub namespaces: Option<PathBuf>,

    /// The policy: which pods get what. Without it: the built-in policy.
    #[arg(long, env = "SLIPWAY_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// Where the CA's certificate is written for clients to trust. Private keys are never written.
    #[arg(
        long,
        env = "SLIPWAY_TLS_DIR",
        value_name = "DIRECTORY",
        default_value = "certs/dev"
    )]
    pub tls_dir: PathBuf,

    /// One more DNS name or IP address under which clients reach the webhook; can be repeated.
    /// `localhost` and the names of the Service are always there.
    #[arg(
        long = "tls-name",
        env = "SLIPWAY_TLS_NAMES",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub tls_names: Vec<String>,

    /// How many connections may be open at once; more are closed immediately.
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
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
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
/// Those of [`run`], or when there are no threads to be had.
pub fn start(args: ServeArgs) -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = args.workers {
        runtime.worker_threads(workers);
    }
    runtime
        .enable_all()
        .build()
        .context("failed to start worker threads")?
        .block_on(run(args))
}

/// Serves until a signal ends it.
///
/// # Errors
/// When a file cannot be used or an address not be had.
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    if !args.standalone {
        bail!("only standalone mode is built so far: run `slipway serve --standalone`");
    }
    // Fails only when it is set already, by whoever embeds this.
    let _ = aws_lc_rs::default_provider().install_default();
    start_log(&args)?;

    let facts = facts(&args)?;
    for warning in facts.policy.warnings() {
        warn!(warning, "policy");
    }
    let identity = Identity::generate(&args.tls_names, args.listen.ip())?;
    let server = Server::bind(Config {
        listen: args.listen,
        metrics_listen: args.metrics_listen,
        tls: identity.config,
        facts,
        evaluate: admit,
        max_connections: args.max_connections,
        request_timeout: args.request_timeout,
        drain_delay: args.drain_delay,
        drain_timeout: args.drain_timeout,
    })
    .context("failed to start; --listen and --metrics-listen choose other addresses")?;
    // Only now: a second server that finds the ports taken leaves the first one's CA alone.
    fs::create_dir_all(&args.tls_dir)
        .with_context(|| format!("failed to make the directory {}", args.tls_dir.display()))?;
    write_whole(&args.tls_dir.join(CA_FILE), &identity.ca_pem)?;
    write_whole(&args.tls_dir.join(REVIEW_FILE), REVIEW)?;
    end_on_signal(server.shutdown())?;
    log_panics();

    let summary = summary(&args, &server);
    io::stdout()
        .write_all(summary.as_bytes())
        .context("failed to write to stdout")?;
    info!(address = %server.address(), metrics = %server.metrics_address(), "serving");
    server.run().await.context("failed to serve")?;
    info!("ended");
    Ok(())
}

fn start_log(args: &ServeArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log_level)
        .with_context(|| format!("--log-level `{}` is not understood", args.log_level))?;
    let format = args.log_format.unwrap_or(if io::stderr().is_terminal() {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false);
    // Fails only when there is a log already, of whoever embeds this.
    let _ = match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
    };
    Ok(())
}

fn facts(args: &ServeArgs) -> anyhow::Result<Facts> {
    let nodes = match &args.nodes {
        Some(path) => fleet::nodes(&read(path)?, &path.display().to_string())?,
        None => fleet::example_nodes()?,
    };
    let namespaces = match &args.namespaces {
        Some(path) => fleet::namespaces(&read(path)?, &path.display().to_string())?,
        None => fleet::example_namespaces()?,
    };
    let policy = match &args.policy {
        Some(path) => Policy::parse(&read(path)?).with_context(|| path.display().to_string())?,
        None => Policy::default(),
    };
    Ok(Facts {
        nodes: Some(nodes),
        namespaces,
        policy,
        dead_mirrors: Vec::new(),
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// Writes a file that readers see whole or not at all.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.tmp", process::id()));
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, path))
        .with_context(|| format!("failed to write {}", path.display()))
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

/// Panics go to the log by their place only: a panic's message may quote the pod.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        error!(place, "panic");
    }));
}

/// What a person wants to see first, and a command that works when pasted.
fn summary(args: &ServeArgs, server: &Server) -> String {
    let facts = server.facts();
    let name_of = |path: &Option<PathBuf>, built_in: &str| {
        path.as_ref()
            .map_or_else(|| built_in.to_owned(), |path| path.display().to_string())
    };
    let ca = args.tls_dir.join(CA_FILE);
    let review = args.tls_dir.join(REVIEW_FILE);
    let curl = format!(
        "curl --silent --cacert {} -H 'content-type: application/json' --data-binary @{} https://{}/mutate",
        quoted(&ca),
        quoted(&review),
        reachable(server.address()),
    );
    let profiles: Vec<&str> = facts.policy.profile_names().collect();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "Slipway {version} serves https://{address}/mutate (metrics: http://{metrics}/metrics)

  nodes       {nodes} ({nodes_from})
  namespaces  {namespaces} ({namespaces_from})
  policy      {policy}; profiles: {profiles}
  CA          {ca} (made for this run)

Send it a runner pod:
  {curl}
See what it changes:
  {curl} | jq -r .response.patch | base64 -d | jq .

",
        version = env!("CARGO_PKG_VERSION"),
        address = server.address(),
        metrics = server.metrics_address(),
        nodes = facts.nodes.as_ref().map(nodes_in_words).unwrap_or_default(),
        nodes_from = name_of(&args.nodes, fleet::EXAMPLE),
        namespaces = facts.namespaces.len(),
        namespaces_from = name_of(&args.namespaces, fleet::EXAMPLE),
        policy = name_of(&args.policy, "built-in"),
        profiles = profiles.join(", "),
        ca = ca.display(),
    );
    text
}

fn nodes_in_words(nodes: &Snapshot) -> String {
    if nodes.is_empty() {
        return "none".to_owned();
    }
    let counts = nodes.count_by_runtime();
    let parts = counts.iter().map(|(kind, n)| format!("{n} with {kind}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// The address as a client on this machine writes it.
fn reachable(address: SocketAddr) -> String {
    let ip = address.ip();
    if ip.is_loopback() || ip.is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_spaces_can_be_pasted() {
        assert_eq!(quoted(Path::new("certs/dev/ca.crt")), "certs/dev/ca.crt");
        assert_eq!(quoted(Path::new("my dir/it's")), r"'my dir/it'\''s'");
    }

    #[test]
    fn the_address_is_one_that_the_certificate_names() {
        for (listen, shown) in [
            ("127.0.0.1:8443", "localhost:8443"),
            ("[::]:1", "localhost:1"),
            ("0.0.0.0:2", "localhost:2"),
            ("10.0.0.7:3", "10.0.0.7:3"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), shown);
        }
    }
}
