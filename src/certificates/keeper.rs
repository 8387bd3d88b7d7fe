//! One look at everything, and what follows from it.

use std::{sync::Arc, time::SystemTime};

use kube::Client;
use tracing::{info, warn};

use super::{
    Options,
    authority::BACKDATED,
    error::ApiError,
    material::{Flaw, Material},
    plan::{self, PROPAGATION},
    secret::{SecretStore, Stored},
    webhooks::{Seen, WebhookStore},
    x509::Certificate,
};
use crate::tls::ServingCertificate;

/// How often a leader that is overtaken looks again before it leaves it for later.
const ATTEMPTS: usize = 5;

/// Why something is not as it should be. The last good certificate is served on.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The API server does not do what it is asked.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The webhook configuration changed after it was read, or does not let itself be changed.
    #[error(transparent)]
    Moved(ApiError),
    /// The leader may not read what it has to keep.
    #[error(
        "the webhook configuration {0} may not be read, so its caBundle is not kept up to date"
    )]
    Forbidden(String),
    /// There is nothing to serve.
    #[error("the Secret {0} is not there yet")]
    NoSecret(String),
    /// What is there cannot be served, or not be renewed.
    #[error("the Secret {name} cannot be used as it is: {flaws}")]
    Unusable {
        /// Of the Secret.
        name: String,
        /// What is wrong with it.
        flaws: String,
    },
    /// A certificate cannot be made.
    #[error("failed to make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Others write all the time.
    #[error("the Secret {0} changed again and again")]
    Overtaken(String),
}

/// Keeps one replica's certificate, and the cluster's too while it leads.
pub struct Keeper {
    options: Options,
    names: Vec<String>,
    secrets: SecretStore,
    webhooks: WebhookStore,
    serving: Arc<ServingCertificate>,
    /// What was in the Secret when it was last all right: what everybody serves and trusts.
    last_good: Option<Material>,
    /// The next CA, and since when the webhook configuration has been seen to trust it.
    trusted_since: Option<(Certificate, SystemTime)>,
    /// Whether it was said that the webhook configuration may not be read.
    warned: bool,
}

impl Keeper {
    /// Prepares to keep `serving`.
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

    /// Looks at the Secret and the webhook configuration; shows the certificate; as the leader
    /// also makes, renews and mends what needs it. It may be dropped at any point: every write is
    /// whole, and the next look goes on from there.
    ///
    /// # Errors
    /// When something is not as it should be; it is noted in the certificate's `problem`, too.
    pub async fn reconcile(&mut self, leads: bool, now: SystemTime) -> Result<(), KeeperError> {
        let mut result = self.look(leads, now).await;
        for _ in 1..ATTEMPTS {
            match &result {
                Err(KeeperError::Moved(_)) => result = self.look(leads, now).await,
                _ => break,
            }
        }
        self.report(result.as_ref().err());
        result
    }

    /// A line when something begins to be wrong, and one when that is over.
    fn report(&self, error: Option<&KeeperError>) {
        let Some(error) = error else {
            if self.serving.nothing_is_wrong() {
                info!("the certificates are as they should be again");
            }
            return;
        };
        if !self.serving.keep_last_because(error.to_string()) {
            return;
        }
        match error {
            // So it begins everywhere but at the leader.
            KeeperError::NoSecret(_) if self.last_good.is_none() => info!(%error, "waiting for it"),
            _ => warn!(%error, "serving on with the last good certificate, if there is one"),
        }
    }

    async fn look(&mut self, leads: bool, now: SystemTime) -> Result<(), KeeperError> {
        // The webhook configuration first. Then what is written into it is never older than what
        // was there, because a write fails when the configuration changed since.
        let mut seen = self.webhooks.read().await;
        let mut stored = self.secrets.read().await?;
        self.note_trust(&seen, stored.as_ref(), now);
        let mut tended = Ok(());
        if leads {
            match self.tend(stored.clone(), now).await {
                Ok(written) => stored = Some(written),
                Err(error) => tended = Err(error),
            }
        }
        let shown = self.show(stored, now);
        let mut spread = Ok(());
        if leads && shown.is_ok() {
            spread = self.spread(&mut seen).await;
        }
        self.judge(&seen, now);
        tended.and(shown).and(spread)?;
        match seen {
            Seen::Unknown(error) => Err(error.into()),
            // Others serve on; a leader that may not do its work must be seen.
            Seen::Forbidden if leads => {
                let name = self.options.webhook_configuration.clone();
                Err(KeeperError::Forbidden(name))
            }
            _ => Ok(()),
        }
    }

    /// Since when the next CA is trusted. Before there is a webhook configuration, nobody can hold
    /// an older bundle: then it counts from when the CA was made.
    fn note_trust(&mut self, seen: &Seen, stored: Option<&Stored>, now: SystemTime) {
        let next = stored.and_then(|stored| stored.material.next.as_ref());
        let since = next.and_then(|next| {
            let ca = next.certificate.clone();
            match seen {
                Seen::Absent => {
                    let made = ca.not_before + BACKDATED;
                    Some((ca, made))
                }
                Seen::Present(trust) if trust.holds(&ca) => {
                    let known = self.trusted_since.take();
                    known.filter(|(known, _)| *known == ca).or(Some((ca, now)))
                }
                // It may be trusted all the same: not known is not the same as no.
                Seen::Unknown(_) => self.trusted_since.take(),
                Seen::Present(_) | Seen::Forbidden => None,
            }
        });
        self.trusted_since = since;
    }

    /// Does what is due to the Secret; says what it holds then.
    async fn tend(
        &mut self,
        mut read: Option<Stored>,
        now: SystemTime,
    ) -> Result<Stored, KeeperError> {
        for _ in 0..ATTEMPTS {
            let damage = self.damage(read.as_ref());
            let base = self.base(read.as_ref(), now);
            let ripe = |since: SystemTime| since + PROPAGATION <= now;
            let next_is_trusted = match (&self.trusted_since, &base.next) {
                (Some((ca, since)), Some(next)) => *ca == next.certificate && ripe(*since),
                _ => false,
            };
            let (material, steps) = plan::advance(base, &self.names, next_is_trusted, now)?;
            if let Some(stored) = read.take_if(|_| steps.is_empty() && damage.is_none()) {
                return Ok(stored);
            }
            if let Some(stored) = self.secrets.write(read, &material).await? {
                if let Some(damage) = damage {
                    warn!(secret = self.options.secret, "mended the Secret: {damage}");
                }
                for step in steps {
                    info!(secret = self.options.secret, "{step}");
                }
                return Ok(stored);
            }
            read = self.secrets.read().await?;
        }
        Err(KeeperError::Overtaken(self.options.secret.clone()))
    }

    /// What is wrong with the Secret.
    fn damage(&self, stored: Option<&Stored>) -> Option<String> {
        match stored {
            None => self.last_good.is_some().then(|| "it was gone".to_owned()),
            Some(stored) => (!stored.flaws.is_empty()).then(|| list(&stored.flaws)),
        }
    }

    /// What to go on from: what is there, or the last good when that is damaged or gone. Clients
    /// trust the last good already; anything new they would have to learn first.
    fn base(&self, stored: Option<&Stored>, now: SystemTime) -> Material {
        if let Some(stored) = stored.filter(|stored| stored.flaws.is_empty()) {
            return stored.material.clone();
        }
        let last_good = self.last_good.as_ref().filter(|good| good.serves_at(now));
        let found = stored.map(|stored| &stored.material);
        last_good.or(found).cloned().unwrap_or_default()
    }

    /// Serves what is in the Secret, if that is good.
    fn show(&mut self, stored: Option<Stored>, now: SystemTime) -> Result<(), KeeperError> {
        let name = &self.options.secret;
        let Some(Stored {
            material, flaws, ..
        }) = stored
        else {
            return Err(KeeperError::NoSecret(name.clone()));
        };
        let unusable = |flaws: String| KeeperError::Unusable {
            name: name.clone(),
            flaws,
        };
        // It is there only when a CA in the Secret signed it.
        let Some(serving) = &material.serving else {
            return Err(unusable(list(&flaws)));
        };
        if now >= serving.certificate.not_after {
            return Err(unusable("its serving certificate has ended".to_owned()));
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

    /// Has the API server trust what is in the Secret.
    async fn spread(&self, seen: &mut Seen) -> Result<(), KeeperError> {
        let (Seen::Present(trust), Some(material)) = (&*seen, &self.last_good) else {
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
                *seen = Seen::Present(trust);
                Ok(())
            }
            Err(error) if matches!(error.code(), Some(404 | 409 | 422)) => {
                Err(KeeperError::Moved(error))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the API server accepts what is shown, as far as can be seen.
    fn judge(&mut self, seen: &Seen, now: SystemTime) {
        let trust = match seen {
            Seen::Unknown(_) => return,
            Seen::Present(trust) => trust,
            // Nobody asks, or nobody can tell: no reason to hold up an installation.
            Seen::Absent => return self.serving.set_distrust(None),
            Seen::Forbidden => {
                if !self.warned {
                    self.warned = true;
                    warn!(
                        webhook_configuration = self.options.webhook_configuration,
                        "it may not be read, so nobody can tell whether its caBundle is right"
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
