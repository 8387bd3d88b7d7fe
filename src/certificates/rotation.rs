//! One pass over everything: reads the Secret and the webhook configuration, serves the certificate, and
//! on the leader renews, repairs and publishes it.

use std::{sync::Arc, time::SystemTime};

use kube::Client;
use tracing::{info, warn};

use super::{
    Options,
    authority::BACKDATED,
    material::{Flaw, Material},
    plan::{self, PROPAGATION},
    secret::{SecretStore, Stored},
    webhooks::{Registration, WebhookStore},
    x509::Certificate,
};
use crate::{cluster::call::CallError, tls::ServingCertificate};

/// How often a leader whose write conflicts tries again within one pass.
const ATTEMPTS: usize = 5;

/// A reason why the certificates are not up to date. The last good one is still served.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A call to the API server failed.
    #[error(transparent)]
    Api(#[from] CallError),
    /// The webhook configuration changed after it was read, or cannot be changed.
    #[error(transparent)]
    Conflict(CallError),
    /// The leader is not allowed to read the webhook configuration.
    #[error(
        "not allowed to read the webhook configuration {0}, so its caBundle is not kept up to date"
    )]
    Forbidden(String),
    /// There is nothing to serve.
    #[error("the Secret {0} does not exist yet")]
    NoSecret(String),
    /// The Secret cannot be served, or not be renewed.
    #[error("the Secret {name} cannot be used: {flaws}")]
    Unusable {
        /// The name of the Secret.
        name: String,
        /// Its flaws.
        flaws: String,
    },
    /// A certificate could not be made.
    #[error("failed to make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Others kept writing the Secret.
    #[error("the Secret {0} kept changing")]
    Contended(String),
}

/// Keeps one replica's certificate up to date, and the cluster's too while it leads.
pub struct Rotation {
    options: Options,
    names: Vec<String>,
    secrets: SecretStore,
    webhooks: WebhookStore,
    serving: Arc<ServingCertificate>,
    /// The contents of the Secret when they were last good: what all replicas serve and clients trust.
    last_good: Option<Material>,
    /// The next CA, and since when the webhook configuration is known to trust it.
    trusted_since: Option<(Certificate, SystemTime)>,
    /// Whether the log already says that the webhook configuration may not be read.
    warned: bool,
}

impl Rotation {
    /// Prepares to keep `serving` up to date.
    #[must_use]
    pub fn new(options: Options, client: Client, serving: Arc<ServingCertificate>) -> Self {
        serving.set_distrust(Some(UNSEEN));
        Self {
            names: options.names(),
            secrets: SecretStore::new(client.clone(), &options.namespace, &options.secret),
            webhooks: WebhookStore::new(client, &options.webhook_configuration),
            options,
            serving,
            last_good: None,
            trusted_since: None,
            warned: false,
        }
    }

    /// Reads the Secret and the webhook configuration, and serves the certificate; the leader also
    /// makes, renews and repairs what needs it. It may be dropped at any point: every write is
    /// complete, and the next pass continues from there.
    ///
    /// # Errors
    /// When something is wrong, which is also noted as the certificate's `problem`.
    pub async fn reconcile(&mut self, leads: bool, now: SystemTime) -> Result<(), RotationError> {
        let mut result = self.pass(leads, now).await;
        for _ in 1..ATTEMPTS {
            match &result {
                Err(RotationError::Conflict(_)) => result = self.pass(leads, now).await,
                _ => break,
            }
        }
        self.report(result.as_ref().err());
        result
    }

    /// Logs when a problem begins, and when it is over.
    fn report(&self, error: Option<&RotationError>) {
        let Some(error) = error else {
            if self.serving.clear_problem() {
                info!("the certificates are up to date again");
            }
            return;
        };
        if !self.serving.set_problem(error.to_string()) {
            return;
        }
        match error {
            // Normal on a new installation, until the leader has written the Secret.
            RotationError::NoSecret(_) if self.last_good.is_none() => {
                info!(%error, "waiting for the Secret");
            }
            _ => warn!(%error, "still serving the last good certificate, if there is one"),
        }
    }

    async fn pass(&mut self, leads: bool, now: SystemTime) -> Result<(), RotationError> {
        // The webhook configuration is read first. The write fails if it has changed since, so it is
        // never overwritten with an older bundle.
        let mut registration = self.webhooks.read().await;
        let mut stored = self.secrets.read().await?;
        self.note_trust(&registration, stored.as_ref(), now);
        let mut renewed = Ok(());
        if leads {
            match self.renew(stored.clone(), now).await {
                Ok(written) => stored = Some(written),
                Err(error) => renewed = Err(error),
            }
        }
        let served = self.serve(stored, now);
        let mut published = Ok(());
        if leads && served.is_ok() {
            published = self.publish(&mut registration).await;
        }
        self.judge(&registration, now);
        renewed.and(served).and(published)?;
        match registration {
            Registration::Unknown(error) => Err(error.into()),
            // Followers only need the Secret; a leader that cannot do its work must say so.
            Registration::Forbidden if leads => {
                let name = self.options.webhook_configuration.clone();
                Err(RotationError::Forbidden(name))
            }
            _ => Ok(()),
        }
    }

    /// Notes since when the next CA is trusted. Without a webhook configuration, no client can hold an
    /// older bundle, so the time counts from when the CA was made.
    fn note_trust(
        &mut self,
        registration: &Registration,
        stored: Option<&Stored>,
        now: SystemTime,
    ) {
        let next = stored.and_then(|stored| stored.material.next.as_ref());
        let since = next.and_then(|next| {
            let ca = next.certificate.clone();
            match registration {
                Registration::Absent => {
                    let made = ca.not_before + BACKDATED;
                    Some((ca, made))
                }
                Registration::Present(trust) if trust.holds(&ca) => {
                    let known = self.trusted_since.take();
                    known.filter(|(known, _)| *known == ca).or(Some((ca, now)))
                }
                // It may still be trusted: unknown does not mean no.
                Registration::Unknown(_) => self.trusted_since.take(),
                Registration::Present(_) | Registration::Forbidden => None,
            }
        });
        self.trusted_since = since;
    }

    /// Makes the changes to the Secret that are due, and returns what it then holds.
    async fn renew(
        &mut self,
        mut read: Option<Stored>,
        now: SystemTime,
    ) -> Result<Stored, RotationError> {
        for _ in 0..ATTEMPTS {
            let damage = self.damage(read.as_ref());
            let base = self.base(read.as_ref(), now);
            let has_propagated = |since: SystemTime| since + PROPAGATION <= now;
            let next_is_trusted = match (&self.trusted_since, &base.next) {
                (Some((ca, since)), Some(next)) => {
                    *ca == next.certificate && has_propagated(*since)
                }
                _ => false,
            };
            let (material, steps) = plan::advance(base, &self.names, next_is_trusted, now)?;
            if let Some(stored) = read.take_if(|_| steps.is_empty() && damage.is_none()) {
                return Ok(stored);
            }
            if let Some(stored) = self.secrets.write(read, &material).await? {
                if let Some(damage) = damage {
                    warn!(
                        secret = self.options.secret,
                        "repaired the Secret: {damage}"
                    );
                }
                for step in steps {
                    info!(secret = self.options.secret, "{step}");
                }
                return Ok(stored);
            }
            read = self.secrets.read().await?;
        }
        Err(RotationError::Contended(self.options.secret.clone()))
    }

    /// Describes what is wrong with the Secret.
    fn damage(&self, stored: Option<&Stored>) -> Option<String> {
        match stored {
            None => self
                .last_good
                .is_some()
                .then(|| "it was missing".to_owned()),
            Some(stored) => (!stored.flaws.is_empty()).then(|| list(&stored.flaws)),
        }
    }

    /// Returns what to continue from: what exists, or the last good contents if that is damaged or
    /// missing. Clients trust the last good ones already; they would have to learn anything new.
    fn base(&self, stored: Option<&Stored>, now: SystemTime) -> Material {
        if let Some(stored) = stored.filter(|stored| stored.flaws.is_empty()) {
            return stored.material.clone();
        }
        let last_good = self.last_good.as_ref().filter(|good| good.serves_at(now));
        let found = stored.map(|stored| &stored.material);
        last_good.or(found).cloned().unwrap_or_default()
    }

    /// Serves what is in the Secret, if it is good.
    fn serve(&mut self, stored: Option<Stored>, now: SystemTime) -> Result<(), RotationError> {
        let name = &self.options.secret;
        let Some(Stored {
            material, flaws, ..
        }) = stored
        else {
            return Err(RotationError::NoSecret(name.clone()));
        };
        let unusable = |flaws: String| RotationError::Unusable {
            name: name.clone(),
            flaws,
        };
        // It is present only if a CA in the Secret signed it.
        let Some(serving) = &material.serving else {
            return Err(unusable(list(&flaws)));
        };
        if now >= serving.certificate.not_after {
            return Err(unusable("its serving certificate has expired".to_owned()));
        }
        let chain = vec![serving.certificate.der.clone()];
        let is_new = self
            .serving
            .replace(chain, serving.key_der())
            .map_err(|error| unusable(error.to_string()))?;
        if is_new {
            info!(secret = name, "serving a new certificate");
        }
        if !flaws.is_empty() {
            return Err(unusable(list(&flaws)));
        }
        self.last_good = Some(material);
        Ok(())
    }

    /// Writes the caBundle, so that the API server trusts what is in the Secret.
    async fn publish(&self, registration: &mut Registration) -> Result<(), RotationError> {
        let (Registration::Present(trust), Some(material)) = (&*registration, &self.last_good)
        else {
            return Ok(());
        };
        let bundle = material.bundle();
        if trust.is(&bundle) {
            return Ok(());
        }
        let name = &self.options.webhook_configuration;
        match self.webhooks.write(trust, &bundle).await {
            Ok(trust) => {
                info!(webhook_configuration = name, "wrote the caBundle");
                *registration = Registration::Present(trust);
                Ok(())
            }
            Err(error) if matches!(error.code(), Some(404 | 409 | 422)) => {
                Err(RotationError::Conflict(error))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Notes whether the API server trusts what is served, as far as is known.
    fn judge(&mut self, registration: &Registration, now: SystemTime) {
        let trust = match registration {
            Registration::Unknown(_) => return,
            Registration::Present(trust) => trust,
            // There are no calls yet, or it is impossible to tell: an installation must not wait for it.
            Registration::Absent => return self.serving.set_distrust(None),
            Registration::Forbidden => {
                if !self.warned {
                    self.warned = true;
                    warn!(
                        webhook_configuration = self.options.webhook_configuration,
                        "not allowed to read it, so it is unknown whether its caBundle is right"
                    );
                }
                return self.serving.set_distrust(None);
            }
        };
        let leaf = self.serving.chain().unwrap_or_default().into_iter().next();
        match leaf.and_then(Certificate::read) {
            Some(leaf) if trust.accepts(&leaf, now) => self.serving.confirm_trust(),
            _ => self.serving.set_distrust(Some(DISTRUSTED)),
        }
    }
}

const UNSEEN: &str = "the webhook configuration has not been read yet";
const DISTRUSTED: &str =
    "the caBundle of the webhook configuration does not trust the serving certificate yet";

fn list(flaws: &[Flaw]) -> String {
    let flaws: Vec<String> = flaws.iter().map(ToString::to_string).collect();
    flaws.join(", ")
}
