//! The certificate that is shown, replaced while connections go on.

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

/// The certificate of the webhook's port. Until there is one, handshakes fail and the server is
/// not ready. Replacing it concerns new connections; open ones go on.
#[derive(Debug, Default)]
pub struct ServingCertificate {
    shown: ArcSwapOption<Shown>,
    /// What keeps the certificate from being, or staying, the newest.
    problem: ArcSwapOption<String>,
    /// Why clients cannot be expected to accept it yet.
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
    /// Shows this chain, its leaf first, from the next connection on. Says whether that is a
    /// change.
    ///
    /// # Errors
    /// When the key is not the leaf's or cannot be used; what was shown before is shown on.
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

    /// Notes that a newer certificate cannot be had or used, or cannot be made. Says whether that
    /// is news.
    pub fn keep_last_because(&self, problem: String) -> bool {
        let is_known = self.problem.load().as_deref() == Some(&problem);
        self.problem.store(Some(Arc::new(problem)));
        !is_known
    }

    /// Notes that all is well. Says whether that is news.
    pub fn nothing_is_wrong(&self) -> bool {
        self.problem.swap(None).is_some()
    }

    /// Notes why clients cannot be expected to accept it, or that nothing says so. What is said
    /// after [`Self::confirm_trust`] no longer makes the server unready: that would help nobody.
    pub fn set_distrust(&self, reason: Option<&'static str>) {
        self.distrust.store(reason.map(Arc::new));
    }

    /// Notes that clients accept it.
    pub fn confirm_trust(&self) {
        self.was_trusted.store(true, Ordering::SeqCst);
        self.distrust.store(None);
    }

    /// The chain that is shown, its leaf first.
    #[must_use]
    pub fn chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        Some(self.shown.load().as_ref()?.key.cert.clone())
    }

    /// When the certificate ends.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        Some(self.shown.load().as_ref()?.expires_at)
    }

    /// What keeps the certificate from being, or staying, the newest, in words for people; `None`
    /// while all is well.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        Some(self.problem.load().as_ref()?.as_ref().clone())
    }

    /// Why clients cannot be expected to accept the certificate; `None` while they do.
    #[must_use]
    pub fn distrust(&self) -> Option<&'static str> {
        Some(**self.distrust.load().as_ref()?)
    }

    /// Why the server is not ready; `None` when it is.
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

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, with this certificate, for all clients or for those
    /// that the check lets in.
    ///
    /// # Errors
    /// When the TLS library lacks one of them, which only a defect can cause.
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

/// `notAfter`.
fn expiry(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_news_once_and_so_is_its_end() {
        let certificate = ServingCertificate::default();
        assert!(!certificate.nothing_is_wrong());
        assert!(certificate.keep_last_because("a".to_owned()));
        assert!(!certificate.keep_last_because("a".to_owned()));
        assert!(certificate.keep_last_because("b".to_owned()));
        assert_eq!(certificate.problem().as_deref(), Some("b"));
        assert!(certificate.nothing_is_wrong());
        assert_eq!(certificate.problem(), None);
    }
}
