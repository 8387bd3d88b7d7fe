//! Certificates and keys: parsing, encoding and verification.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{KeyPair, PublicKeyData};
use rustls::{
    RootCertStore,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};

/// The length of a line in PEM, in characters.
const PEM_LINE: usize = 64;

/// A certificate, with the fields that rotation needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) der: CertificateDer<'static>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) is_ca: bool,
    public_key: Vec<u8>,
}

impl Certificate {
    /// Parses a certificate; `None` if it is not valid.
    pub(super) fn read(der: CertificateDer<'static>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
        let validity = parsed.validity();
        let (not_before, not_after) = (
            time(validity.not_before.timestamp())?,
            time(validity.not_after.timestamp())?,
        );
        let is_ca = parsed.is_ca();
        let public_key = parsed.public_key().raw.to_vec();
        Some(Self {
            der,
            not_before,
            not_after,
            is_ca,
            public_key,
        })
    }

    /// Parses all certificates of a PEM file; `None` if one of them is not valid.
    pub(super) fn read_pem(pem: &[u8]) -> Option<Vec<Self>> {
        CertificateDer::pem_slice_iter(pem)
            .map(|der| Self::read(der.ok()?))
            .collect()
    }

    /// Encodes the certificate as PEM.
    pub(super) fn pem(&self) -> String {
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(&self.der).as_bytes().chunks(PEM_LINE) {
            pem.extend(line.iter().copied().map(char::from));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// Returns whether it is valid at this time. There is no tolerance: `notBefore` already allows for
    /// clocks that differ.
    pub(super) fn is_valid_at(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// Returns whether it is due for replacement: two thirds of its lifetime have passed.
    pub(super) fn is_due_at(&self, now: SystemTime) -> bool {
        let lifetime = self
            .not_after
            .duration_since(self.not_before)
            .unwrap_or_default();
        self.not_before
            .checked_add(lifetime / 3 * 2)
            .is_none_or(|due| due <= now)
    }

    /// Returns whether a client that trusts these CAs accepts it at this time. Names are not checked.
    pub(super) fn is_trusted_by<'a>(
        &self,
        trusted: impl IntoIterator<Item = &'a Certificate>,
        now: SystemTime,
    ) -> bool {
        let mut roots = RootCertStore::empty();
        for ca in trusted {
            // A certificate that the library refuses as a root cannot vouch for anything.
            let _ = roots.add(ca.der.clone());
        }
        let Ok(leaf) = ParsedCertificate::try_from(&self.der) else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let algorithms = aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], now, algorithms).is_ok()
    }

    /// Returns whether it is for this name.
    pub(super) fn is_for(&self, name: &str) -> bool {
        let (Ok(leaf), Ok(name)) = (
            ParsedCertificate::try_from(&self.der),
            ServerName::try_from(name),
        ) else {
            return false;
        };
        verify_server_name(&leaf, &name).is_ok()
    }
}

/// A certificate with its private key.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) certificate: Certificate,
    pub(super) key: Arc<KeyPair>,
}

impl Pair {
    /// Pairs a certificate with a key, if they belong together.
    pub(super) fn of(certificate: Certificate, key: Arc<KeyPair>) -> Option<Self> {
        (key.subject_public_key_info() == certificate.public_key)
            .then_some(Self { certificate, key })
    }

    /// Returns the key in the form that rustls takes.
    pub(super) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }
}

/// Parses a private key in PEM; `None` if it is not valid.
pub(super) fn read_key(pem: &[u8]) -> Option<Arc<KeyPair>> {
    let der = PrivateKeyDer::from_pem_slice(pem).ok()?;
    KeyPair::try_from(&der).ok().map(Arc::new)
}

fn time(seconds: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}
