//! The serving certificate, the check of client certificates, and the CA and certificate that
//! `slipway serve --standalone` makes at start. Private keys stay in memory.

mod clients;
mod serving;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, ServerName};

pub use clients::{ClientCheck, ClientCheckError};
pub use serving::ServingCertificate;

/// The names that every standalone certificate has.
const NAMES: [&str; 7] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "slipway",
    "slipway.slipway-system",
    "slipway.slipway-system.svc",
    "slipway.slipway-system.svc.cluster.local",
];
/// Certificates are backdated, because clocks differ.
const BACKDATED: Duration = Duration::from_secs(60 * 60);
/// Longer than a standalone server runs; some clients refuse more than 398 days.
const VALID_FOR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A reason why no certificate can be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The name is neither a DNS name nor an IP address.
    #[error("`{0}` is not a valid certificate name: use a DNS name or an IP address")]
    Name(String),
    /// The certificate library failed.
    #[error("failed to make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refuses the certificate.
    #[error("failed to set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A serving certificate, and the CA that its clients have to trust.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The CA's certificate, as PEM.
    pub ca_pem: String,
    /// The certificate that the server shows.
    pub serving: Arc<ServingCertificate>,
}

impl Identity {
    /// Creates a CA, and a serving certificate for the usual names, `names` and `address`.
    ///
    /// # Errors
    /// When a name is neither a DNS name nor an IP address.
    pub fn generate(names: &[String], address: IpAddr) -> Result<Self, TlsError> {
        let mut all: Vec<String> = NAMES.map(str::to_owned).into();
        if !address.is_unspecified() {
            all.push(address.to_string());
        }
        for name in names {
            ServerName::try_from(name.as_str()).map_err(|_| TlsError::Name(name.clone()))?;
        }
        all.extend_from_slice(names);
        all.sort();
        all.dedup();

        let mut authority = params(Vec::new(), "Slipway standalone CA")?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&authority_key)?;

        let mut serving = params(all, "slipway")?;
        serving.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        serving.use_authority_key_identifier_extension = true;
        let serving_key = KeyPair::generate()?;
        let issuer = Issuer::from_params(&authority, &authority_key);
        let certificate = serving.signed_by(&serving_key, &issuer)?;

        let shown = ServingCertificate::default();
        shown.replace(
            vec![certificate.into()],
            PrivateKeyDer::Pkcs8(serving_key.serialize_der().into()),
        )?;
        Ok(Self {
            ca_pem: authority_certificate.pem(),
            serving: Arc::new(shown),
        })
    }
}

fn params(names: Vec<String>, common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(BACKDATED);
    params.not_after = params.not_before + BACKDATED + VALID_FOR;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn only_dns_names_and_ip_addresses_are_accepted_as_names() {
        let with = |name: &str| Identity::generate(&[name.to_owned()], Ipv4Addr::LOCALHOST.into());
        for good in ["ci.example", "10.0.0.1", "fd00::1", "localhost"] {
            assert!(with(good).is_ok(), "{good}");
        }
        for bad in ["two words", "", "https://ci.example", "a:443", "ci.exämple"] {
            assert!(
                matches!(with(bad), Err(TlsError::Name(name)) if name == bad),
                "{bad}"
            );
        }
    }
}
