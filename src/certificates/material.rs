//! The contents of the Secret.

use std::{collections::BTreeMap, fmt, time::SystemTime};

use k8s_openapi::ByteString;

use super::x509::{Certificate, Pair, read_key};

/// The serving certificate, under the key that Secrets of type `kubernetes.io/tls` use.
const SERVING_CERTIFICATE: &str = "tls.crt";
const SERVING_KEY: &str = "tls.key";
/// All CAs to trust.
const TRUSTED: &str = "ca.crt";
/// The key of the CA that signs.
const SIGNER_KEY: &str = "ca.key";
/// The key of the next CA to sign, while there is one.
const NEXT_KEY: &str = "next-ca.key";

/// A Secret's data.
pub(super) type Data = BTreeMap<String, ByteString>;

/// All certificates and keys. Missing ones are to be made.
#[derive(Debug, Clone, Default)]
pub(super) struct Material {
    /// The certificate that the webhook serves.
    pub(super) serving: Option<Pair>,
    /// The CA that signs.
    pub(super) signer: Option<Pair>,
    /// The CA that signs next, once it is trusted everywhere.
    pub(super) next: Option<Pair>,
    /// All trusted CAs: the two above, and earlier ones that are still valid.
    pub(super) trusted: Vec<Certificate>,
}

/// A flaw in a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A key is missing or empty.
    Missing(&'static str),
    /// A value is not a certificate, or not a key, in PEM.
    Unreadable(&'static str),
    /// A private key belongs to none of the certificates.
    WrongKey(&'static str, &'static str),
    /// None of the CAs signed the serving certificate.
    NotTrusted,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(key) => write!(f, "`{key}` is missing"),
            Self::Unreadable(key) => write!(f, "`{key}` cannot be read"),
            Self::WrongKey(key, certificate) => {
                write!(
                    f,
                    "`{key}` is not the key of a certificate in `{certificate}`"
                )
            }
            Self::NotTrusted => {
                write!(f, "no CA in `{TRUSTED}` signed `{SERVING_CERTIFICATE}`")
            }
        }
    }
}

impl Material {
    /// Reads what is usable, and returns the flaws of the rest.
    pub(super) fn read(data: &Data) -> (Self, Vec<Flaw>) {
        let mut flaws = Vec::new();
        let mut trusted = certificates(data, TRUSTED, &mut flaws);
        trusted.retain(|certificate| certificate.is_ca);
        trusted.dedup();
        let mut authority = |key| paired(data, key, TRUSTED, &trusted, &mut flaws);
        let has_next = data.contains_key(NEXT_KEY);
        let next = has_next.then(|| authority(NEXT_KEY)).flatten();
        // While the next CA waits to be trusted, a lost key of the signer is no flaw: nothing can
        // replace it until then.
        let has_signer = data.contains_key(SIGNER_KEY) || !has_next;
        let signer = has_signer.then(|| authority(SIGNER_KEY)).flatten();
        let leaf = certificates(data, SERVING_CERTIFICATE, &mut flaws);
        let mut serving = paired(data, SERVING_KEY, SERVING_CERTIFICATE, &leaf, &mut flaws);
        // Trust only; expiry is checked elsewhere.
        serving = serving.filter(|pair| {
            let leaf = &pair.certificate;
            let is_trusted = leaf.is_trusted_by(&trusted, leaf.not_before);
            if !is_trusted {
                flaws.push(Flaw::NotTrusted);
            }
            is_trusted
        });
        let material = Self {
            serving,
            signer,
            next,
            trusted,
        };
        (material, flaws)
    }

    /// Writes everything into the data, and keeps unknown keys.
    pub(super) fn write(&self, data: &mut Data) {
        data.insert(TRUSTED.to_owned(), ByteString(self.bundle().into_bytes()));
        for (pair, key) in [
            (&self.signer, SIGNER_KEY),
            (&self.next, NEXT_KEY),
            (&self.serving, SERVING_KEY),
        ] {
            match pair {
                Some(pair) => {
                    let pem = pair.key.serialize_pem();
                    data.insert(key.to_owned(), ByteString(pem.into_bytes()));
                }
                None => {
                    data.remove(key);
                }
            }
        }
        if let Some(serving) = &self.serving {
            let pem = serving.certificate.pem();
            data.insert(SERVING_CERTIFICATE.to_owned(), ByteString(pem.into_bytes()));
        }
    }

    /// Returns the bundle of CAs that the API server should trust, as PEM.
    pub(super) fn bundle(&self) -> String {
        self.trusted.iter().map(Certificate::pem).collect()
    }

    /// Returns whether the serving certificate is valid and trusted now.
    pub(super) fn serves_at(&self, now: SystemTime) -> bool {
        self.serving.as_ref().is_some_and(|serving| {
            let certificate = &serving.certificate;
            certificate.is_valid_at(now) && certificate.is_trusted_by(&self.trusted, now)
        })
    }
}

fn certificates(data: &Data, key: &'static str, flaws: &mut Vec<Flaw>) -> Vec<Certificate> {
    let Some(pem) = value(data, key, flaws) else {
        return Vec::new();
    };
    match Certificate::read_pem(pem) {
        Some(certificates) if !certificates.is_empty() => certificates,
        _ => {
            flaws.push(Flaw::Unreadable(key));
            Vec::new()
        }
    }
}

/// Finds the certificate to which a private key belongs.
fn paired(
    data: &Data,
    key_name: &'static str,
    certificates_name: &'static str,
    certificates: &[Certificate],
    flaws: &mut Vec<Flaw>,
) -> Option<Pair> {
    let Some(key) = read_key(value(data, key_name, flaws)?) else {
        flaws.push(Flaw::Unreadable(key_name));
        return None;
    };
    let pair = certificates
        .iter()
        .find_map(|certificate| Pair::of(certificate.clone(), key.clone()));
    if pair.is_none() {
        flaws.push(Flaw::WrongKey(key_name, certificates_name));
    }
    pair
}

fn value<'a>(data: &'a Data, key: &'static str, flaws: &mut Vec<Flaw>) -> Option<&'a [u8]> {
    let value = data.get(key).map(|value| value.0.as_slice());
    let value = value.filter(|value| !value.is_empty());
    if value.is_none() {
        flaws.push(Flaw::Missing(key));
    }
    value
}
