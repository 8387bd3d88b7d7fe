//! `slipway serve` in a cluster, as the Helm chart runs it.

use std::{env, future::Future, path::Path, pin::pin, process, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use kube::Client;
use slipway_core::admission::LeftAlone;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tracing::{error, info, warn};

use super::{ServeArgs, end_on_signal, log, policy, policy_load};
use crate::{
    cache_claims::{self, Leaser},
    certificates,
    cli::client::ClientArgs,
    cluster::{
        events,
        leader::{Election, Leadership},
        state::{ClusterState, LiveState},
        watch,
    },
    metrics::Metrics,
    server::{Server, Shutdown},
    tls::ServingCertificate,
};

/// Where the chart mounts certificates that others make.
const TLS_DIR: &str = "/etc/slipway/tls";
/// How long the end may be held up by the Lease.
const LEASE_PATIENCE: Duration = Duration::from_secs(3);

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

    /// The name of the pod in which this runs, which tells the replicas apart. Without it: the name
    /// of the host.
    #[arg(long, env = "SLIPWAY_POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,

    /// Who makes the certificates: `self` (Slipway), `cert-manager`, or `provided` (by somebody else,
    /// as files). See docs/certificates.md.
    #[arg(
        long,
        env = "SLIPWAY_CERTIFICATES",
        value_name = "MODE",
        default_value = "self"
    )]
    certificates: certificates::Mode,

    /// The Secret in which certificates of the mode `self` are kept.
    #[arg(
        long,
        env = "SLIPWAY_TLS_SECRET",
        value_name = "NAME",
        default_value = "slipway-tls"
    )]
    tls_secret: String,

    /// The MutatingWebhookConfiguration whose caBundle is written in the mode `self`.
    #[arg(
        long,
        env = "SLIPWAY_WEBHOOK_CONFIGURATION",
        value_name = "NAME",
        default_value = "slipway"
    )]
    webhook_configuration: String,

    /// The Service by which the API server calls the webhook.
    #[arg(
        long,
        env = "SLIPWAY_SERVICE",
        value_name = "NAME",
        default_value = "slipway"
    )]
    service: String,

    /// The Lease by which the replicas choose the one that keeps the certificates.
    #[arg(
        long,
        env = "SLIPWAY_LEASE",
        value_name = "NAME",
        default_value = "slipway-leader"
    )]
    lease: String,

    /// Whether registry mirrors are probed, and those that do not answer left out of new pods. Turn
    /// it off where Slipway cannot reach mirrors that runner pods can.
    #[arg(
        long,
        env = "SLIPWAY_PROBE_MIRRORS",
        value_name = "BOOL",
        default_value = "true",
        action = clap::ArgAction::Set
    )]
    probe_mirrors: bool,
}

impl InClusterArgs {
    fn certificates(&self, tls_dir: Option<&Path>) -> certificates::Options {
        certificates::Options {
            mode: self.certificates,
            namespace: self.namespace.clone(),
            service: self.service.clone(),
            secret: self.tls_secret.clone(),
            webhook_configuration: self.webhook_configuration.clone(),
            directory: tls_dir.unwrap_or(Path::new(TLS_DIR)).to_owned(),
        }
    }

    /// What tells this replica from all others.
    fn identity(&self) -> String {
        self.pod_name.clone().unwrap_or_else(|| {
            let host = env::var("HOSTNAME").unwrap_or_else(|_| "slipway".to_owned());
            format!("{host}-{}", process::id())
        })
    }
}

/// What the server and its tasks share.
#[derive(Clone)]
struct Parts {
    client: Client,
    state: Arc<LiveState>,
    metrics: Arc<Metrics>,
    serving: Arc<ServingCertificate>,
    shutdown: Shutdown,
}

/// Serves until a signal ends it.
///
/// # Errors
/// When a file cannot be used, an address not be had, or there is no cluster.
pub(super) async fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let (policy, policy_text) = policy(args)?;
    let client = args.cluster.client.serving_client().await?;
    let metrics = Arc::new(Metrics::new());
    let state = Arc::new(LiveState::new(ClusterState {
        policy: policy.into(),
        policy_load: policy_load(args),
        ..ClusterState::default()
    }));
    let serving = Arc::new(ServingCertificate::default());
    let (events, waiting) = events::Sink::new(Arc::clone(&metrics));
    let leaser = Leaser::new(client.clone(), Arc::clone(&state), Arc::clone(&metrics));
    let config = args.server_config(
        Arc::clone(&serving),
        Arc::clone(&state),
        Arc::clone(&metrics),
        Some(events),
        Some(leaser),
    )?;
    let server = args.bind(config)?.named(args.cluster.identity());
    let parts = Parts {
        client,
        state,
        metrics,
        serving,
        shutdown: server.shutdown(),
    };
    end_on_signal(parts.shutdown.clone())?;
    log::log_panics();

    let mut tasks = Tasks::default();
    tasks.follow(&parts, args, policy_text);
    tasks.tell(&parts, args, waiting);
    let leadership = tasks.keep_certificates(&parts, args);
    tasks.keep_pools(&parts, leadership);
    info!(address = %server.address(), metrics = %server.metrics_address(), "serving");
    tasks.serve(server, &parts.shutdown).await
}

/// What runs beside the server until the shutdown.
#[derive(Default)]
struct Tasks {
    all: JoinSet<&'static str>,
    /// It ends by itself when the shutdown begins, once the Lease is given back.
    election: Option<JoinHandle<()>>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.all.spawn(async move {
            task.await;
            name
        });
    }

    /// What keeps the cluster state up to date.
    fn follow(&mut self, parts: &Parts, args: &ServeArgs, policy_text: String) {
        let Parts {
            client,
            state,
            metrics,
            ..
        } = parts.clone();
        self.spawn("watches", watch::cluster(client, state, metrics));
        if args.cluster.probe_mirrors {
            let state = Arc::clone(&parts.state);
            self.spawn("mirror probes", async move {
                watch::mirrors::follow(&state).await;
            });
        }
        if let Some(path) = args.policy.clone() {
            let Parts { state, metrics, .. } = parts.clone();
            self.spawn("policy file", async move {
                let every = watch::policy::EVERY;
                watch::policy::follow(&path, policy_text, every, &state, &metrics).await;
            });
        }
    }

    fn tell(&mut self, parts: &Parts, args: &ServeArgs, waiting: mpsc::Receiver<LeftAlone>) {
        let Parts {
            client, metrics, ..
        } = parts.clone();
        let identity = args.cluster.identity();
        self.spawn("events", async move {
            events::publish(client, Some(identity), waiting, &metrics).await;
        });
    }

    fn keep_certificates(&mut self, parts: &Parts, args: &ServeArgs) -> Leadership {
        let Parts {
            client,
            serving,
            metrics,
            shutdown,
            ..
        } = parts.clone();
        let own = &args.cluster;
        let election = Election::new(client.clone(), &own.namespace, &own.lease, &own.identity());
        let leadership = election.leadership();
        let options = own.certificates(args.tls_dir.as_deref());
        // Without certificates or pools to keep there is no leader, and no right to write a Lease.
        let by_files = own.certificates != certificates::Mode::Own;
        let state = Arc::clone(&parts.state);
        self.election = Some(tokio::spawn(async move {
            let needed = async {
                if by_files {
                    state.until(|state| state.policy.has_claim_pools()).await;
                }
            };
            tokio::select! {
                () = needed => election.run(shutdown.begun()).await,
                () = shutdown.begun() => {}
            }
        }));
        self.spawn("leader metric", show(leadership.clone(), metrics));
        let keep = certificates::run(options, client, serving, leadership.clone());
        self.spawn("certificates", keep);
        leadership
    }

    /// Pools of claims: what is known of them, and the leader's work on them.
    fn keep_pools(&mut self, parts: &Parts, leadership: Leadership) {
        let Parts {
            client,
            state,
            metrics,
            ..
        } = parts.clone();
        let follow = cache_claims::follow(client.clone(), Arc::clone(&state), Arc::clone(&metrics));
        self.spawn("claims", follow);
        let lead = cache_claims::lead(client, leadership, state, metrics);
        self.spawn("claims' controller", lead);
    }

    /// Serves. Should one of the tasks end before the shutdown, which only a defect does, the server
    /// ends too, in order, and the kubelet starts it again: better than serving on with what gets
    /// older.
    async fn serve(mut self, server: Server, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut serving = pin!(server.run());
        let ended = tokio::select! {
            result = &mut serving => {
                self.give_lease_back().await;
                result.context("failed to serve")?;
                info!("ended");
                return Ok(());
            }
            Some(ended) = self.all.join_next() => ended,
        };
        let task = ended.unwrap_or("one that panicked");
        error!(
            task,
            "a task that should run for ever has ended; shutting down"
        );
        shutdown.begin();
        serving.await.context("failed to serve")?;
        self.give_lease_back().await;
        bail!("ended, because a part of it failed; please report the log")
    }

    /// So that another replica can lead at once. It has begun with the shutdown.
    async fn give_lease_back(&mut self) {
        if let Some(election) = self.election.take()
            && timeout(LEASE_PATIENCE, election).await.is_err()
        {
            warn!("the lease could not be given back in time; it will run out");
        }
    }
}

/// Shows whether this replica leads, for ever.
async fn show(mut leadership: Leadership, metrics: Arc<Metrics>) {
    loop {
        let leads = leadership.is_leader();
        metrics.replica.set_leader(leads);
        leadership.changed_from(leads).await;
    }
}
