//! `slipway serve`: runs the webhook, in a cluster or standalone.

mod args;
mod in_cluster;
pub(super) mod log;
mod standalone;

use std::{fs, path::Path, sync::Arc, time::SystemTime};

use anyhow::Context;
use rustls::crypto::aws_lc_rs;
use slipway_core::{admission::admit, policy::Policy};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

pub(super) use args::{ServeArgs, positive};

use crate::{
    cache_claims::Leaser,
    cluster::{
        events::Sink,
        lookup::NamespaceLookup,
        state::{LiveState, PolicyLoad},
    },
    metrics::Metrics,
    server::{Config, Hosts, Server, Shutdown},
    tls::{ClientCheck, ServingCertificate},
};

impl ServeArgs {
    fn server_config(
        &self,
        tls: Arc<ServingCertificate>,
        state: Arc<LiveState>,
        metrics: Arc<Metrics>,
        events: Option<Sink>,
        leaser: Option<Leaser>,
        lookup: Option<NamespaceLookup>,
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
            lookup,
            max_connections: self.max_connections,
            request_timeout: self.request_timeout,
            drain_delay: self.drain_delay,
            drain_timeout: self.drain_timeout,
        })
    }

    /// Creates the server and binds its ports. `hosts` are the names of the metrics port.
    fn bind(&self, config: Config, hosts: Hosts) -> anyhow::Result<Server> {
        let server = Server::bind(config)
            .context("failed to start; --listen and --metrics-listen choose other addresses")?
            .reached_as(hosts);
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

/// Runs the command in an async runtime of its own.
///
/// # Errors
/// When threads cannot be started, a file cannot be used, an address is taken, or there is no cluster.
pub fn start(args: &ServeArgs) -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = args.workers {
        runtime.worker_threads(workers);
    }
    let runtime = runtime
        .enable_all()
        .build()
        .context("failed to start worker threads")?;
    // Fails only when a provider is installed already.
    let _ = aws_lc_rs::default_provider().install_default();
    log::start(args.log_level, args.log_format);
    if args.standalone {
        runtime.block_on(standalone::run(args))
    } else {
        runtime.block_on(in_cluster::run(args))
    }
}

/// Describes where the policy comes from.
fn policy_load(args: &ServeArgs) -> PolicyLoad {
    let file = args.policy.as_ref().map(|path| path.display().to_string());
    PolicyLoad {
        file: file.map(Into::into),
        in_force_since: Some(SystemTime::now()),
        refused_at: None,
    }
}

/// A policy and the text that it was parsed from; empty for the built-in policy.
#[derive(Default)]
struct LoadedPolicy {
    policy: Policy,
    text: String,
}

impl LoadedPolicy {
    /// Loads the policy that the arguments name, and logs its warnings.
    fn load(args: &ServeArgs) -> anyhow::Result<Self> {
        let loaded = match &args.policy {
            Some(path) => {
                let text = read(path)?;
                let policy = Policy::parse(&text).with_context(|| path.display().to_string())?;
                Self { policy, text }
            }
            None => Self::default(),
        };
        for warning in loaded.policy.warnings() {
            warn!(warning, "policy");
        }
        Ok(loaded)
    }
}

/// Reads a text file that an argument names.
fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// Begins the shutdown when the process receives SIGTERM or SIGINT.
fn shut_down_on_signal(shutdown: Shutdown) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    tokio::spawn(async move {
        let name = stop.await;
        info!(signal = name, "shutting down");
        shutdown.begin();
    });
    Ok(())
}

/// Returns what resolves to the name of the signal when the process receives SIGTERM or SIGINT.
pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = &'static str>> {
    let mut terminate =
        signal(SignalKind::terminate()).context("failed to install a handler for SIGTERM")?;
    let mut interrupt =
        signal(SignalKind::interrupt()).context("failed to install a handler for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}
