//! `slipway serve` in a cluster, as the Helm chart runs it.

use std::{future::Future, sync::Arc};

use anyhow::{Context, bail};
use clap::Args;
use tokio::task::JoinSet;
use tracing::{error, info};

use super::{ServeArgs, end_on_signal, log, policy};
use crate::{
    commands::client::ClientArgs,
    events,
    facts::{Facts, LiveFacts},
    metrics::Metrics,
    server::{Server, Shutdown},
    watch,
};

/// Arguments that count without `--standalone`.
#[derive(Debug, Args)]
#[command(next_help_heading = "In a cluster")]
pub(super) struct InClusterArgs {
    #[command(flatten)]
    client: ClientArgs,

    /// The namespace in which Slipway runs: there its Secret and its Lease are.
    #[arg(
        long = "own-namespace",
        env = "SLIPWAY_NAMESPACE",
        value_name = "NAME",
        default_value = "slipway-system"
    )]
    namespace: String,

    /// The name of the pod in which this runs, which tells the replicas apart.
    #[arg(long, env = "SLIPWAY_POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
}

/// Serves until a signal ends it.
///
/// # Errors
/// When a file cannot be used, an address not be had, or there is no cluster.
pub(super) async fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let (policy, text) = policy(args)?;
    let client = args.cluster.client.client().await?;
    let metrics = Arc::new(Metrics::new());
    let facts = Arc::new(LiveFacts::new(Facts {
        policy: policy.into(),
        ..Facts::default()
    }));
    let (sink, waiting) = events::Sink::new(Arc::clone(&metrics));
    let identity = crate::server::tls::Identity::generate(&[], args.listen.ip())?;
    let config = args.server_config(
        identity.serving,
        Arc::clone(&facts),
        Arc::clone(&metrics),
        Some(sink),
    );
    let server = Server::bind(config)
        .context("failed to start; --listen and --metrics-listen choose other addresses")?;
    let shutdown = server.shutdown();
    end_on_signal(shutdown.clone())?;
    log::log_panics();

    let mut tasks = Tasks::default();
    tasks.spawn("watches", {
        let (client, facts, metrics) = (client.clone(), Arc::clone(&facts), Arc::clone(&metrics));
        watch::cluster(client, facts, metrics)
    });
    tasks.spawn("mirror probes", {
        let facts = Arc::clone(&facts);
        async move { watch::mirrors::follow(&facts).await }
    });
    if let Some(path) = args.policy.clone() {
        let (facts, metrics) = (Arc::clone(&facts), Arc::clone(&metrics));
        tasks.spawn("policy file", async move {
            watch::policy::follow(&path, text, watch::policy::EVERY, &facts, &metrics).await;
        });
    }
    let pod_name = args.cluster.pod_name.clone();
    tasks.spawn("events", async move {
        events::publish(client, pod_name, waiting, &metrics).await;
    });

    info!(address = %server.address(), metrics = %server.metrics_address(), "serving");
    tasks.serve(server, &shutdown).await
}

/// What runs beside the server, for ever.
#[derive(Default)]
struct Tasks(JoinSet<&'static str>);

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            task.await;
            name
        });
    }

    /// Serves. Should one of the tasks end, which only a defect does, the server ends too, in
    /// order, and the kubelet starts it again: better than serving on with what gets older.
    async fn serve(mut self, server: Server, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut serving = std::pin::pin!(server.run());
        let ended = tokio::select! {
            result = &mut serving => {
                result.context("failed to serve")?;
                info!("ended");
                return Ok(());
            }
            ended = self.0.join_next() => ended,
        };
        let task = match ended {
            Some(Ok(name)) => name,
            Some(Err(_)) => "panic",
            None => "none",
        };
        error!(
            task,
            "a task that should run for ever has ended; shutting down"
        );
        shutdown.begin();
        serving.await.context("failed to serve")?;
        bail!("ended, because a part of it failed; please report the log")
    }
}
