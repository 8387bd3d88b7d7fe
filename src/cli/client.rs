//! The client of the cluster that a command talks to.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustls::crypto::aws_lc_rs;

use crate::cluster::watch;

/// The time within which an API server must accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that a person waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a future that talks to a cluster.
///
/// # Errors
/// Those of the future, or when the runtime cannot be started.
pub(super) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    // Fails only when a provider is installed already.
    let _ = aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the async runtime")?
        .block_on(future)
}

/// Arguments that name a cluster.
#[derive(Debug, Default, Args)]
pub(super) struct ClientArgs {
    /// The kubeconfig of the cluster [default: the file that KUBECONFIG names, then ~/.kube/config, then the
    /// service account of the pod that this runs in]
    #[arg(long, env = "SLIPWAY_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig [default: its current context]
    #[arg(long, env = "SLIPWAY_CONTEXT", value_name = "NAME")]
    context: Option<String>,
}

impl ClientArgs {
    /// Creates a client for a command that asks a few questions. It does not connect yet.
    ///
    /// # Errors
    /// When there is neither a usable kubeconfig nor a service account.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        let mut config = self.config().await?;
        config.read_timeout = Some(ANSWER_TIMEOUT);
        new_client(config)
    }

    /// Creates a client for the server, whose watches may be silent for a while. It does not retry: the
    /// callers do, because they must know that something is wrong.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub(super) async fn serving_client(&self) -> anyhow::Result<Client> {
        let mut config = self.config().await?;
        config.read_timeout = Some(watch::MAX_SILENCE);
        config.default_retry = false;
        new_client(config)
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        match &self.kubeconfig {
            Some(path) => {
                let failed = || format!("failed to use the kubeconfig {}", path.display());
                let kubeconfig = Kubeconfig::read_from(path).with_context(failed)?;
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .with_context(failed)
            }
            None if self.context.is_some() => Config::from_kubeconfig(&options)
                .await
                .context("failed to use the kubeconfig"),
            None => Config::infer().await.context(
                "found no cluster: there is no usable kubeconfig (--kubeconfig names one), and this does not run in a pod with a service account",
            ),
        }
    }
}

fn new_client(mut config: Config) -> anyhow::Result<Client> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // The read timeout starts with the request, not with the last use of the connection.
    config.reset_reader_on_write = true;
    Client::try_from(config).context("failed to create a client for the cluster")
}
