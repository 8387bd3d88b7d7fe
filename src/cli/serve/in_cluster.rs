//! `slipway serve` in a cluster, as the Helm chart runs it.

mod tasks;

use std::{env, fs, path::Path, process, sync::Arc};

use clap::Args;
use kube::Client;
use tracing::info;

use super::{LoadedPolicy, ServeArgs, log, policy_load, shut_down_on_signal};
use crate::{
    cache_claims::Leaser,
    certificates,
    cli::client::ClientArgs,
    cluster::{
        events,
        lookup::NamespaceLookup,
        state::{ClusterState, LiveState},
    },
    metrics::Metrics,
    server::{Hosts, Shutdown},
    tls::ServingCertificate,
};
use tasks::Tasks;

/// The directory where the chart mounts certificates that others make.
const TLS_DIR: &str = "/etc/slipway/tls";
/// Where the kubelet names the cluster's domain.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Arguments that apply without `--standalone`.
#[derive(Debug, Args)]
#[command(next_help_heading = "In a cluster")]
pub(super) struct InClusterArgs {
    #[command(flatten)]
    client: ClientArgs,

    /// The namespace in which Slipway runs, with its Secret and its Lease.
    #[arg(
        long = "own-namespace",
        env = "SLIPWAY_NAMESPACE",
        value_name = "NAME",
        default_value = "slipway-system"
    )]
    namespace: String,

    /// The name of the pod in which this runs, which identifies the replica [default: the host's name and
    /// the process id]
    #[arg(long, env = "SLIPWAY_POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,

    /// Who makes the certificates: `self` (Slipway), `cert-manager`, or `provided` (anyone else, as files).
    /// See docs/certificates.md.
    #[arg(
        long,
        env = "SLIPWAY_CERTIFICATES",
        value_name = "MODE",
        default_value = "self"
    )]
    certificates: certificates::Mode,

    /// The Secret that stores the certificates in the mode `self`.
    #[arg(
        long,
        env = "SLIPWAY_TLS_SECRET",
        value_name = "NAME",
        default_value = "slipway-tls"
    )]
    tls_secret: String,

    /// The MutatingWebhookConfiguration whose caBundle is updated in the mode `self`.
    #[arg(
        long,
        env = "SLIPWAY_WEBHOOK_CONFIGURATION",
        value_name = "NAME",
        default_value = "slipway"
    )]
    webhook_configuration: String,

    /// The Service through which the API server calls the webhook.
    #[arg(
        long,
        env = "SLIPWAY_SERVICE",
        value_name = "NAME",
        default_value = "slipway"
    )]
    service: String,

    /// The Lease by which the replicas elect the leader, which keeps the certificates and the cache claims.
    #[arg(
        long,
        env = "SLIPWAY_LEASE",
        value_name = "NAME",
        default_value = "slipway-leader"
    )]
    lease: String,

    /// Probe registry mirrors, and leave those that do not answer out of new pods. Turn it off if runner
    /// pods can reach mirrors that Slipway cannot.
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

    /// Returns the names by which clients reach the metrics port, with those that `names` adds.
    fn hosts(&self, names: &[String]) -> Hosts {
        // Without the file, the cluster has the usual domain.
        let resolv_conf = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        Hosts::new(names.iter().cloned()).with_service(&self.service, &self.namespace, &resolv_conf)
    }

    /// Returns the name that identifies this replica.
    fn identity(&self) -> String {
        self.pod_name.clone().unwrap_or_else(|| {
            let host = env::var("HOSTNAME").unwrap_or_else(|_| "slipway".to_owned());
            format!("{host}-{}", process::id())
        })
    }
}

/// What the server and its tasks share.
#[derive(Clone)]
struct Shared {
    client: Client,
    state: Arc<LiveState>,
    metrics: Arc<Metrics>,
    serving: Arc<ServingCertificate>,
    shutdown: Shutdown,
}

/// Serves until the process is told to stop.
///
/// # Errors
/// When a file cannot be used, an address is taken, or there is no cluster.
pub(super) async fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let LoadedPolicy { policy, text } = LoadedPolicy::load(args)?;
    let client = args.in_cluster.client.serving_client().await?;
    let metrics = Arc::new(Metrics::new());
    let state = ClusterState {
        policy: policy.into(),
        policy_load: policy_load(args),
        ..ClusterState::default()
    };
    let state = Arc::new(LiveState::new(if args.in_cluster.probe_mirrors {
        state.probing_mirrors()
    } else {
        state
    }));
    let serving = Arc::new(ServingCertificate::default());
    let (events, queue) = events::Sink::new(Arc::clone(&metrics));
    let leaser = Leaser::new(client.clone(), Arc::clone(&state), Arc::clone(&metrics));
    let config = args.server_config(
        Arc::clone(&serving),
        Arc::clone(&state),
        Arc::clone(&metrics),
        Some(events),
        Some(leaser),
        Some(NamespaceLookup::new(client.clone(), Arc::clone(&state))),
    )?;
    let hosts = args.in_cluster.hosts(&args.metrics_hosts);
    let server = args.bind(config, hosts)?.named(args.in_cluster.identity());
    let shared = Shared {
        client,
        state,
        metrics,
        serving,
        shutdown: server.shutdown(),
    };
    shut_down_on_signal(shared.shutdown.clone())?;
    log::log_panics();

    let mut tasks = Tasks::default();
    tasks.watch(&shared, args, text);
    tasks.publish_events(&shared, args, queue);
    let leadership = tasks.keep_certificates(&shared, args);
    tasks.keep_cache_claims(&shared, leadership);
    info!(address = %server.address(), metrics = %server.metrics_address(), "serving");
    tasks.serve(server, &shared.shutdown).await
}
