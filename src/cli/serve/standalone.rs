//! `slipway serve --standalone`: no cluster, the cluster state from files, certificates made at start.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use anyhow::Context;
use clap::Args;
use slipway_core::{k8s::cluster_file, nodes::Snapshot};
use tracing::info;

use super::{ServeArgs, end_on_signal, log, policy, policy_load};
use crate::{
    cluster::state::{ClusterState, LiveState},
    metrics::Metrics,
    server::Server,
    tls::Identity,
};

const REVIEW: &str = include_str!("../../../examples/reviews/scale-set-dind.json");
const TLS_DIR: &str = "certs/dev";
const CA_FILE: &str = "ca.crt";
const REVIEW_FILE: &str = "review.json";

/// Arguments that count with `--standalone` alone.
#[derive(Debug, Args)]
#[command(next_help_heading = "With --standalone")]
pub struct StandaloneArgs {
    /// The cluster's nodes, as `kubectl get nodes -o yaml` (or json) prints them. Without it: a
    /// built-in example.
    #[arg(
        long,
        env = "SLIPWAY_NODES",
        value_name = "FILE",
        requires = "standalone"
    )]
    pub nodes: Option<PathBuf>,

    /// Its namespaces and LimitRanges, as `kubectl get namespaces,limitranges,resourcequotas --all-namespaces -o
    /// yaml` (or json) prints them. Without it: a built-in example.
    #[arg(
        long,
        env = "SLIPWAY_NAMESPACES",
        value_name = "FILE",
        requires = "standalone"
    )]
    pub namespaces: Option<PathBuf>,

    /// One more DNS name or IP address under which clients reach the webhook; can be repeated.
    /// `localhost` and the names of the Service are always there.
    #[arg(
        long = "tls-name",
        env = "SLIPWAY_TLS_NAMES",
        value_name = "NAME",
        value_delimiter = ',',
        requires = "standalone"
    )]
    pub tls_names: Vec<String>,
}

/// Serves until a signal ends it.
///
/// # Errors
/// When a file cannot be used or an address not be had.
pub(super) async fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let state = cluster_state(args)?;
    let words = FactsInWords::of(&state);
    let tls_dir = args.tls_dir.clone().unwrap_or_else(|| TLS_DIR.into());
    let identity = Identity::generate(&args.standalone_args.tls_names, args.listen.ip())?;
    let metrics = Arc::new(Metrics::standalone());
    let server = args.bind(args.server_config(
        identity.serving,
        LiveState::new(state).into(),
        metrics,
        None,
        None,
    )?)?;
    // Only now: a second server that finds the ports taken leaves the first one's CA alone.
    fs::create_dir_all(&tls_dir)
        .with_context(|| format!("failed to make the directory {}", tls_dir.display()))?;
    write_whole(&tls_dir.join(CA_FILE), &identity.ca_pem)?;
    write_whole(&tls_dir.join(REVIEW_FILE), REVIEW)?;
    end_on_signal(server.shutdown())?;
    log::log_panics();

    let summary = summary(args, &tls_dir, &server, &words);
    io::stdout()
        .write_all(summary.as_bytes())
        .context("failed to write to stdout")?;
    info!(address = %server.address(), metrics = %server.metrics_address(), "serving");
    server.run().await.context("failed to serve")?;
    info!("ended");
    Ok(())
}

fn cluster_state(args: &ServeArgs) -> anyhow::Result<ClusterState> {
    let nodes = match &args.standalone_args.nodes {
        Some(path) => cluster_file::nodes(&read(path)?, &path.display().to_string())?,
        None => cluster_file::example_nodes()?,
    };
    let namespaces = match &args.standalone_args.namespaces {
        Some(path) => cluster_file::namespaces(&read(path)?, &path.display().to_string())?,
        None => cluster_file::example_namespaces()?,
    };
    let (policy, _) = policy(args)?;
    Ok(ClusterState {
        nodes: Some(nodes.into()),
        namespaces: Some(namespaces.into()),
        policy: policy.into(),
        policy_load: policy_load(args),
        ..ClusterState::default()
    })
}

/// Reads a text that a person named.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
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

/// What a person wants to see first, and a command that works when pasted.
fn summary(args: &ServeArgs, tls_dir: &Path, server: &Server, state: &FactsInWords) -> String {
    let name_of = |path: &Option<PathBuf>, built_in: &str| {
        path.as_ref()
            .map_or_else(|| built_in.to_owned(), |path| path.display().to_string())
    };
    let ca = tls_dir.join(CA_FILE);
    let review = tls_dir.join(REVIEW_FILE);
    let curl = format!(
        "curl --silent --cacert {} -H 'content-type: application/json' --data-binary @{} https://{}/mutate",
        quoted(&ca),
        quoted(&review),
        reachable(server.address()),
    );
    let page = if args.status_page {
        format!(
            "Its status page: http://{}/\n",
            reachable(server.metrics_address())
        )
    } else {
        String::new()
    };
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "Slipway {version} serves https://{address}/mutate (metrics: http://{metrics}/metrics)
{page}
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
        nodes = state.nodes,
        nodes_from = name_of(&args.standalone_args.nodes, cluster_file::EXAMPLE),
        namespaces = state.namespaces,
        namespaces_from = name_of(&args.standalone_args.namespaces, cluster_file::EXAMPLE),
        policy = name_of(&args.policy, "built-in"),
        profiles = state.profiles,
        ca = ca.display(),
    );
    text
}

/// What the summary says of the cluster state.
struct FactsInWords {
    nodes: String,
    namespaces: usize,
    profiles: String,
}

impl FactsInWords {
    fn of(state: &ClusterState) -> Self {
        let profiles: Vec<&str> = state.policy.profile_names().collect();
        Self {
            nodes: state
                .nodes
                .as_deref()
                .map(nodes_in_words)
                .unwrap_or_default(),
            namespaces: state.namespaces.as_ref().map_or(0, |all| all.len()),
            profiles: profiles.join(", "),
        }
    }
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
