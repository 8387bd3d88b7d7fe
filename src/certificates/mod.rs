//! The webhook's certificates.
//!
//! In mode `self` the replicas' leader makes a CA and a serving certificate, keeps them in one
//! Secret, writes the CA into the webhook configuration, and renews both long before they end.
//! Every replica, the leader or not, serves what is in the Secret. In the other modes somebody
//! else makes the certificates, and they are read from files.
//!
//! What to do is decided by pure functions of what is there and what time it is (`material`,
//! `plan`); [`Keeper`] reads and writes. It looks at everything each time, so that nothing depends
//! on having seen each change: what woke it up does not matter.

mod authority;
mod error;
mod files;
mod keeper;
mod material;
mod plan;
mod secret;
mod webhooks;
mod x509;

use std::{
    fmt,
    path::PathBuf,
    pin::pin,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tracing::debug;

pub use authority::{BACKDATED, CA_LIFETIME, SERVING_LIFETIME};
pub use error::ApiError;
pub use files::{FilesError, reload};
pub use keeper::{Keeper, KeeperError};
pub use plan::PROPAGATION;

use crate::{cluster::leader::Leadership, tls::ServingCertificate};

/// How often everything is looked at without a cause.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long until the next look after one that failed.
const RETRY: Duration = Duration::from_secs(5);
/// At least so long between two looks, whatever happens: somebody else may write all the time.
const PAUSE: Duration = Duration::from_millis(500);

/// Who makes the certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Slipway itself.
    #[default]
    Own,
    /// cert-manager, which also writes the caBundle.
    CertManager,
    /// Somebody else, who also writes the caBundle.
    Provided,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Own, Self::CertManager, Self::Provided];

    /// As it is written in arguments.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "self",
            Self::CertManager => "cert-manager",
            Self::Provided => "provided",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| "it must be self, cert-manager or provided".to_owned())
    }
}

/// Where certificates come from and go to.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who makes them.
    pub mode: Mode,
    /// Slipway's own namespace.
    pub namespace: String,
    /// The Service through which the API server reaches the webhook.
    pub service: String,
    /// The Secret of mode `self`, in the own namespace.
    pub secret: String,
    /// The MutatingWebhookConfiguration whose caBundle mode `self` writes.
    pub webhook_configuration: String,
    /// Where the other modes find `tls.crt` and `tls.key`.
    pub directory: PathBuf,
}

impl Options {
    /// The name by which the API server calls the webhook.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// The names in the serving certificate; the first is the one that counts.
    fn names(&self) -> Vec<String> {
        let host = self.host();
        vec![
            host.clone(),
            format!("{host}.cluster.local"),
            format!("{}.{}", self.service, self.namespace),
            self.service.clone(),
        ]
    }
}

/// When the last of the certificates in `pem` ends; `None` when there is none, or something else.
#[must_use]
pub fn last_end(pem: &[u8]) -> Option<SystemTime> {
    let certificates = x509::Certificate::read_pem(pem)?;
    certificates
        .iter()
        .map(|certificate| certificate.not_after)
        .max()
}

/// Keeps `serving` up to date, for ever. It may be dropped at any point.
pub async fn run(
    options: Options,
    client: Client,
    serving: Arc<ServingCertificate>,
    leadership: Leadership,
) {
    match options.mode {
        // It holds two watches, and is large.
        Mode::Own => Box::pin(keep(options, client, serving, leadership)).await,
        Mode::CertManager | Mode::Provided => {
            files::follow(&options.directory, &options.host(), &serving).await;
        }
    }
}

async fn keep(
    options: Options,
    client: Client,
    serving: Arc<ServingCertificate>,
    mut leadership: Leadership,
) {
    let mut changes = pin!(changes(&options, &client));
    let mut keeper = Keeper::new(options, client, serving);
    loop {
        let leads = leadership.is_leader();
        let mut change_of_leader = leadership.clone();
        let look = keeper.reconcile(leads, SystemTime::now());
        let result = if leads {
            tokio::select! {
                biased;
                () = leadership.lost() => continue,
                result = look => result,
            }
        } else {
            look.await
        };
        tokio::time::sleep(PAUSE).await;
        let wait = if result.is_ok() { INTERVAL } else { RETRY };
        tokio::select! {
            () = change_of_leader.changed_from(leads) => {}
            Some(()) = changes.next() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// That the Secret or the webhook configuration changed; what it is then is read anyway.
fn changes(options: &Options, client: &Client) -> impl Stream<Item = ()> + use<> {
    let named = |name: &str| {
        let field = format!("metadata.name={name}");
        watcher::Config::default().fields(&field)
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &options.namespace);
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let secrets = watcher::watcher(secrets, named(&options.secret));
    let webhooks = watcher::watcher(webhooks, named(&options.webhook_configuration));
    futures_util::stream::select(
        secrets.default_backoff().filter_map(changed),
        webhooks.default_backoff().filter_map(changed),
    )
}

async fn changed<K>(event: watcher::Result<watcher::Event<K>>) -> Option<()> {
    match event {
        Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => {
            Some(())
        }
        Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
        Err(error) => {
            debug!(%error, "a watch broke off; it is taken up again");
            None
        }
    }
}
