//! Makes CAs and serving certificates.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::x509::{Certificate, Pair};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a CA is valid. It is replaced after two thirds of that; the rest outlasts every
/// certificate that it signed.
pub const CA_LIFETIME: Duration = DAY.saturating_mul(365);
/// How long a serving certificate is valid. It is replaced after two thirds of that.
pub const SERVING_LIFETIME: Duration = DAY.saturating_mul(90);
/// How long before its creation a certificate becomes valid: clocks differ.
pub const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// Makes a CA.
///
/// # Errors
/// When a key cannot be generated.
pub(super) fn make(now: SystemTime) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    // The name must be unique: clients look up a certificate's issuer by name.
    let made = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("Slipway CA {}", made.as_secs());
    let mut params = params(Vec::new(), &name, now, CA_LIFETIME)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    pair(params.self_signed(&key)?, key)
}

/// Issues a serving certificate for these DNS names, which expires no later than its CA.
///
/// # Errors
/// When a certificate cannot hold a name, or a key cannot be generated.
pub(super) fn issue(
    signer: &Pair,
    names: &[String],
    now: SystemTime,
) -> Result<Pair, rcgen::Error> {
    let left = signer
        .certificate
        .not_after
        .duration_since(now)
        .unwrap_or_default();
    let common_name = names.first().map_or("slipway", String::as_str);
    // DNS allows longer names, but a common name does not.
    let common_name = if common_name.len() > 64 {
        "slipway"
    } else {
        common_name
    };
    let mut params = params(names.to_vec(), common_name, now, SERVING_LIFETIME.min(left))?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let issuer = Issuer::from_ca_cert_der(&signer.certificate.der, signer.key.as_ref())?;
    pair(params.signed_by(&key, &issuer)?, key)
}

fn params(
    names: Vec<String>,
    common_name: &str,
    now: SystemTime,
    lifetime: Duration,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now + lifetime;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

fn pair(certificate: rcgen::Certificate, key: KeyPair) -> Result<Pair, rcgen::Error> {
    Certificate::read(certificate.into())
        .and_then(|certificate| Pair::of(certificate, Arc::new(key)))
        .ok_or(rcgen::Error::CouldNotParseCertificate)
}
