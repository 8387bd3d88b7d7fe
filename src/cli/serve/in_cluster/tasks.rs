//! The tasks beside the server: watches, Events, the election, certificates, cache claims.

use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use slipway_core::admission::LeftAlone;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tracing::{error, info, warn};

use super::{ServeArgs, Shared};
use crate::{
    cache_claims, certificates,
    cluster::{
        events,
        leader::{Election, Leadership},
        watch,
    },
    metrics::Metrics,
    server::{Server, Shutdown},
};

/// How long the release of the Lease may delay the end of the process.
const LEASE_RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// Tasks that run beside the server until the shutdown.
#[derive(Default)]
pub(super) struct Tasks {
    /// Each returns its name should it end.
    all: JoinSet<&'static str>,
    /// Ends by itself once the shutdown has begun and the Lease is released.
    election: Option<JoinHandle<()>>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.all.spawn(async move {
            task.await;
            name
        });
    }

    /// Starts what keeps the cluster state up to date.
    pub(super) fn watch(&mut self, shared: &Shared, args: &ServeArgs, policy_text: String) {
        let Shared {
            client,
            state,
            metrics,
            ..
        } = shared.clone();
        self.spawn("watches", watch::cluster(client, state, metrics));
        if args.in_cluster.probe_mirrors {
            let state = Arc::clone(&shared.state);
            self.spawn("mirror probes", async move {
                watch::mirrors::follow(&state).await;
            });
        }
        if let Some(path) = args.policy.clone() {
            let Shared { state, metrics, .. } = shared.clone();
            self.spawn("policy file", async move {
                let every = watch::policy::EVERY;
                watch::policy::follow(&path, policy_text, every, &state, &metrics).await;
            });
        }
    }

    /// Starts the task that publishes Events for the pods that were left alone.
    pub(super) fn publish_events(
        &mut self,
        shared: &Shared,
        args: &ServeArgs,
        queue: mpsc::Receiver<LeftAlone>,
    ) {
        let Shared {
            client, metrics, ..
        } = shared.clone();
        let identity = args.in_cluster.identity();
        self.spawn("events", async move {
            events::publish(client, Some(identity), queue, &metrics).await;
        });
    }

    /// Starts the election, and the task that keeps the certificates.
    pub(super) fn keep_certificates(&mut self, shared: &Shared, args: &ServeArgs) -> Leadership {
        let Shared {
            client,
            serving,
            metrics,
            shutdown,
            ..
        } = shared.clone();
        let own = &args.in_cluster;
        let election = Election::new(client.clone(), &own.namespace, &own.lease, &own.identity());
        let leadership = election.leadership();
        let options = own.certificates(args.tls_dir.as_deref());
        // A leader is needed, and the Lease may be written, only for certificates or cache claims.
        let by_files = own.certificates != certificates::Mode::Own;
        let state = Arc::clone(&shared.state);
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

    /// Starts the tasks that watch cache claims, and that keep them while this replica leads.
    pub(super) fn keep_cache_claims(&mut self, shared: &Shared, leadership: Leadership) {
        let Shared {
            client,
            state,
            metrics,
            ..
        } = shared.clone();
        let follow = cache_claims::follow(client.clone(), Arc::clone(&state), Arc::clone(&metrics));
        self.spawn("claims", follow);
        let lead = cache_claims::lead(client, leadership, state, metrics);
        self.spawn("claims' controller", lead);
    }

    /// Serves until the shutdown.
    ///
    /// A task that ends earlier is a defect. The server then shuts down too, in order, and the kubelet
    /// starts it again: that is better than serving with stale state.
    pub(super) async fn serve(mut self, server: Server, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut serving = pin!(server.run());
        let task = tokio::select! {
            result = &mut serving => {
                self.release_lease().await;
                result.context("failed to serve")?;
                info!("stopped");
                return Ok(());
            }
            task = self.failed(shutdown) => task,
        };
        error!(
            task,
            "a task ended that should run until the shutdown; shutting down"
        );
        shutdown.begin();
        serving.await.context("failed to serve")?;
        self.release_lease().await;
        bail!("stopped because the task `{task}` failed; please report this with the log")
    }

    /// Waits until a task ends too early, and returns its name. During the shutdown tasks may end: that of
    /// the Events does, because its queue closes with the server.
    async fn failed(&mut self, shutdown: &Shutdown) -> &'static str {
        while let Some(ended) = self.all.join_next().await {
            if !shutdown.has_begun() {
                return ended.unwrap_or("one that panicked");
            }
        }
        pending().await
    }

    /// Waits until the Lease is released, which began with the shutdown, so that another replica can lead
    /// at once.
    async fn release_lease(&mut self) {
        if let Some(election) = self.election.take()
            && timeout(LEASE_RELEASE_TIMEOUT, election).await.is_err()
        {
            warn!("failed to release the Lease in time; it will expire");
        }
    }
}

/// Keeps the metric up to date that shows whether this replica leads.
async fn show(mut leadership: Leadership, metrics: Arc<Metrics>) {
    loop {
        let leads = leadership.is_leader();
        metrics.replica.set_leader(leads);
        leadership.changed_from(leads).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_is_a_failure_before_the_shutdown_only() {
        for (shutting_down, failed) in [(false, Some("events")), (true, None)] {
            let shutdown = Shutdown::default();
            if shutting_down {
                shutdown.begin();
            }
            let mut tasks = Tasks::default();
            tasks.spawn("events", async {});
            yield_now().await;
            assert_eq!(tasks.failed(&shutdown).now_or_never(), failed);
        }
    }
}
