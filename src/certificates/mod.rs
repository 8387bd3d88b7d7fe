//! The webhook's certificates.
//!
//! In mode `self`, the leader makes a CA and a serving certificate, stores them in one Secret, writes
//! the CA into the webhook configuration, and renews both long before they expire. Every replica
//! serves what is in the Secret. In the other modes, somebody else issues the certificates, and they
//! are read from files.
//!
//! `material` and `plan` decide what to do, from what exists and the time; [`Rotation`] reads and
//! writes. It reads everything each time, so nothing depends on having seen every change.

mod authority;
mod files;
mod material;
mod options;
mod plan;
mod rotation;
mod secret;
mod webhooks;
mod x509;

use std::{
    pin::pin,
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
pub use files::{FilesError, reload};
pub use options::{Mode, Options};
pub use plan::PROPAGATION;
pub use rotation::{Rotation, RotationError};

use crate::{cluster::leader::Leadership, tls::ServingCertificate};

/// The longest a call to the API server may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The time between two passes without a cause.
const INTERVAL: Duration = Duration::from_secs(60);
/// The time until the next pass after a failed one.
const RETRY: Duration = Duration::from_secs(5);
/// The least time between two passes, in case others write all the time.
const PAUSE: Duration = Duration::from_millis(500);

/// Returns when the last of the certificates in `pem` expires; `None` if there are none, or one is not
/// valid.
#[must_use]
pub fn last_expiry(pem: &[u8]) -> Option<SystemTime> {
    let certificates = x509::Certificate::read_pem(pem)?;
    certificates
        .iter()
        .map(|certificate| certificate.not_after)
        .max()
}

/// Keeps `serving` up to date, forever. It may be dropped at any point.
pub async fn run(
    options: Options,
    client: Client,
    serving: Arc<ServingCertificate>,
    leadership: Leadership,
) {
    match options.mode {
        // Boxed because it holds two watches and is large.
        Mode::Own => Box::pin(rotate(options, client, serving, leadership)).await,
        Mode::CertManager | Mode::Provided => {
            files::follow(&options.directory, &options.host(), &serving).await;
        }
    }
}

async fn rotate(
    options: Options,
    client: Client,
    serving: Arc<ServingCertificate>,
    mut leadership: Leadership,
) {
    let mut changes = pin!(changes(&options, &client));
    let mut rotation = Rotation::new(options, client, serving);
    loop {
        let leads = leadership.is_leader();
        let mut change_of_leader = leadership.clone();
        let pass = rotation.reconcile(leads, SystemTime::now());
        let result = if leads {
            tokio::select! {
                biased;
                () = leadership.lost() => continue,
                result = pass => result,
            }
        } else {
            pass.await
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

/// Signals changes of the Secret or the webhook configuration, without saying what they are.
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
            debug!(%error, "a watch broke; it is restarted");
            None
        }
    }
}
