//! The serving certificate, which can be replaced while connections are open.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use super::ClientCheck;

/// The certificate of the webhook's port. Until there is one, handshakes fail and the server is not
/// ready. A new one is used for new connections; open ones are not affected.
#[derive(Debug, Default)]
pub struct ServingCertificate {
    shown: ArcSwapOption<Shown>,
    /// Why a newer certificate cannot be obtained or used.
    problem: ArcSwapOption<String>,
    /// Why clients cannot be expected to trust it yet.
    distrust: ArcSwapOption<&'static str>,
    was_trusted: AtomicBool,
}

struct Shown {
    key: Arc<CertifiedKey>,
    expires_at: SystemTime,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl ServingCertificate {
    /// Uses this chain, its leaf first, from the next connection on. Returns whether that is a change.
    ///
    /// # Errors
    /// When the key does not fit the leaf or cannot be used; the last certificate stays.
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<bool, rustls::Error> {
        let expires_at = chain
            .first()
            .and_then(expiry)
            .ok_or(rustls::CertificateError::BadEncoding)?;
        let key = Arc::new(CertifiedKey::from_der(
            chain,
            key,
            &aws_lc_rs::default_provider(),
        )?);
        let shown = self.shown.load();
        if shown
            .as_ref()
            .is_some_and(|shown| shown.key.cert == key.cert)
        {
            return Ok(false);
        }
        self.shown.store(Some(Arc::new(Shown { key, expires_at })));
        Ok(true)
    }

    /// Records why a newer certificate cannot be obtained or used. Returns whether that is news.
    pub fn set_problem(&self, problem: String) -> bool {
        let is_known = self.problem.load().as_deref() == Some(&problem);
        self.problem.store(Some(Arc::new(problem)));
        !is_known
    }

    /// Records that there is no problem. Returns whether that is news.
    pub fn clear_problem(&self) -> bool {
        self.problem.swap(None).is_some()
    }

    /// Records why clients cannot be expected to trust the certificate, if there is a reason. After
    /// [`Self::confirm_trust`] that no longer makes the server unready: it would help nobody.
    pub fn set_distrust(&self, reason: Option<&'static str>) {
        self.distrust.store(reason.map(Arc::new));
    }

    /// Records that clients trust the certificate.
    pub fn confirm_trust(&self) {
        self.was_trusted.store(true, Ordering::SeqCst);
        self.distrust.store(None);
    }

    /// Returns the current chain, its leaf first.
    #[must_use]
    pub fn chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        Some(self.shown.load().as_ref()?.key.cert.clone())
    }

    /// Returns when the certificate expires.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        Some(self.shown.load().as_ref()?.expires_at)
    }

    /// Returns why a newer certificate cannot be obtained or used, in words for people.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        Some(self.problem.load().as_ref()?.as_ref().clone())
    }

    /// Returns why clients cannot be expected to trust the certificate.
    #[must_use]
    pub fn distrust(&self) -> Option<&'static str> {
        Some(**self.distrust.load().as_ref()?)
    }

    /// Returns why the server is not ready as far as the certificate is concerned.
    #[must_use]
    pub fn not_ready_because(&self) -> Option<&'static str> {
        if self.shown.load().is_none() {
            return Some("there is no serving certificate yet");
        }
        if self.was_trusted.load(Ordering::SeqCst) {
            return None;
        }
        self.distrust()
    }

    /// Builds a TLS configuration with this certificate: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, for all
    /// clients or for those that pass the check.
    ///
    /// # Errors
    /// When the TLS library lacks one of them, which would be a bug.
    pub fn server_config(
        self: &Arc<Self>,
        clients: Option<Arc<ClientCheck>>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let certificate: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let clients: Arc<dyn ClientCertVerifier> = match clients {
            Some(check) => check,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.load().as_ref()?.key))
    }
}

/// Reads `notAfter`.
fn expiry(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_and_its_end_are_each_news_once() {
        let certificate = ServingCertificate::default();
        assert!(!certificate.clear_problem());
        assert!(certificate.set_problem("a".to_owned()));
        assert!(!certificate.set_problem("a".to_owned()));
        assert!(certificate.set_problem("b".to_owned()));
        assert_eq!(certificate.problem().as_deref(), Some("b"));
        assert!(certificate.clear_problem());
        assert_eq!(certificate.problem(), None);
    }
}
