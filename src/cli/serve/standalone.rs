//! `slipway serve --standalone`: runs without a cluster, with nodes and namespaces from files and
//! certificates that are created at start.

mod summary;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use anyhow::Context;
use clap::Args;
use slipway_core::k8s::cluster_file;
use tracing::info;

use super::{LoadedPolicy, ServeArgs, log, policy_load, read, shut_down_on_signal};
use crate::{
    cluster::state::{ClusterState, LiveState},
    metrics::Metrics,
    server::Hosts,
    tls::Identity,
};
use summary::{ClusterInWords, summary};

const REVIEW: &str = include_str!("../../../examples/reviews/scale-set-dind.json");
const TLS_DIR: &str = "certs/dev";
const CA_FILE: &str = "ca.crt";
const REVIEW_FILE: &str = "review.json";

/// Arguments that apply only with `--standalone`.
#[derive(Debug, Args)]
#[command(next_help_heading = "With --standalone")]
pub struct StandaloneArgs {
    /// The cluster's nodes, as `kubectl get nodes -o yaml` (or json) prints them [default: a built-in
    /// example]
    #[arg(
        long,
        env = "SLIPWAY_NODES",
        value_name = "FILE",
        requires = "standalone"
    )]
    pub nodes: Option<PathBuf>,

    /// Its namespaces, LimitRanges and ResourceQuotas, as `kubectl get namespaces,limitranges,resourcequotas
    /// --all-namespaces -o yaml` (or json) prints them [default: a built-in example]
    #[arg(
        long,
        env = "SLIPWAY_NAMESPACES",
        value_name = "FILE",
        requires = "standalone"
    )]
    pub namespaces: Option<PathBuf>,

    /// Another DNS name or IP address of the webhook, for its certificate; can be repeated. `localhost` and
    /// the names of the Service are always included.
    #[arg(
        long = "tls-name",
        env = "SLIPWAY_TLS_NAMES",
        value_name = "NAME",
        value_delimiter = ',',
        requires = "standalone"
    )]
    pub tls_names: Vec<String>,
}

/// Serves until the process is told to stop.
///
/// # Errors
/// When a file cannot be used or an address is taken.
pub(super) async fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let state = cluster_state(args)?;
    let cluster = ClusterInWords::of(&state);
    let tls_dir = args.tls_dir.clone().unwrap_or_else(|| TLS_DIR.into());
    let identity = Identity::generate(&args.standalone_args.tls_names, args.listen.ip())?;
    let metrics = Arc::new(Metrics::standalone());
    let config = args.server_config(
        identity.serving,
        LiveState::new(state).into(),
        metrics,
        None,
        None,
        None,
    )?;
    let server = args.bind(config, Hosts::new(args.metrics_hosts.iter().cloned()))?;
    // Written after the ports are bound, so that a second server does not replace the CA of the first.
    fs::create_dir_all(&tls_dir)
        .with_context(|| format!("failed to create the directory {}", tls_dir.display()))?;
    write_whole(&tls_dir.join(CA_FILE), &identity.ca_pem)?;
    write_whole(&tls_dir.join(REVIEW_FILE), REVIEW)?;
    shut_down_on_signal(server.shutdown())?;
    log::log_panics();

    let summary = summary(args, &tls_dir, &server, &cluster);
    io::stdout()
        .write_all(summary.as_bytes())
        .context("failed to write to stdout")?;
    info!(address = %server.address(), metrics = %server.metrics_address(), "serving");
    server.run().await.context("failed to serve")?;
    info!("stopped");
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
    let LoadedPolicy { policy, .. } = LoadedPolicy::load(args)?;
    Ok(ClusterState {
        nodes: Some(nodes.into()),
        namespaces: Some(namespaces.into()),
        policy: policy.into(),
        policy_load: policy_load(args),
        ..ClusterState::default()
    })
}

/// Writes a file so that readers see all of it or nothing.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.tmp", process::id()));
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, path))
        .with_context(|| format!("failed to write {}", path.display()))
}
