//! Which cluster a command talks to.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustls::crypto::aws_lc_rs;

use crate::cluster::watch;

/// An API server that does not answer a connection within this is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A person does not wait longer for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs what asks a cluster.
///
/// # Errors
/// Those of `asks`, or when there is no thread to be had.
pub(super) fn block_on<T>(asks: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    // Fails only when it is set already, by whoever embeds this.
    let _ = aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start")?
        .block_on(asks)
}

/// Arguments that name a cluster.
#[derive(Debug, Default, Args)]
pub(super) struct ClientArgs {
    /// The kubeconfig of the cluster. Without it: that of the environment variable KUBECONFIG, then
    /// ~/.kube/config, then the service account of the pod that this runs in.
    #[arg(long, env = "SLIPWAY_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig. Without it: its current one.
    #[arg(long, env = "SLIPWAY_CONTEXT", value_name = "NAME")]
    context: Option<String>,
}

impl ClientArgs {
    /// A client of that cluster for a few questions. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When there is no usable kubeconfig and this runs in no pod.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        let mut config = self.config().await?;
        config.read_timeout = Some(ANSWER_TIMEOUT);
        new_client(config)
    }

    /// A client for a server, whose watches may be silent for a while. It does not repeat calls by
    /// itself: those who call do, and have to know that something is wrong.
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
                "found no cluster: there is no usable kubeconfig (--kubeconfig names one), and this is no pod with a service account",
            ),
        }
    }
}

fn new_client(mut config: Config) -> anyhow::Result<Client> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Time counts from the question, not from when the connection was last used.
    config.reset_reader_on_write = true;
    Client::try_from(config).context("failed to set up a client of the cluster")
}
