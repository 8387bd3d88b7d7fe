//! What is in the Secret.

use std::{collections::BTreeMap, fmt, time::SystemTime};

use k8s_openapi::ByteString;

use super::x509::{Certificate, Pair, read_key};

/// The serving certificate; the name is that of Secrets of type `kubernetes.io/tls`.
const SERVING_CERTIFICATE: &str = "tls.crt";
const SERVING_KEY: &str = "tls.key";
/// All CAs that are to be trusted.
const TRUSTED: &str = "ca.crt";
/// The key of the CA that signs.
const SIGNER_KEY: &str = "ca.key";
/// The key of the CA that will sign next, while there is one.
const NEXT_KEY: &str = "next-ca.key";

/// A Secret's data.
pub(super) type Data = BTreeMap<String, ByteString>;

/// All certificates and keys. What is missing is to be made.
#[derive(Debug, Clone, Default)]
pub(super) struct Material {
    /// What the webhook shows.
    pub(super) serving: Option<Pair>,
    /// The CA that signs.
    pub(super) signer: Option<Pair>,
    /// The CA that will sign once it is trusted everywhere.
    pub(super) next: Option<Pair>,
    /// All CAs that are trusted: the two above, and those that signed before and still count.
    pub(super) trusted: Vec<Certificate>,
}

/// What is wrong with a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A key is not there, or empty.
    Missing(&'static str),
    /// It is no PEM of certificates or of a key.
    Unreadable(&'static str),
    /// A key belongs to no certificate.
    WrongKey(&'static str, &'static str),
    /// The serving certificate is of none of the CAs.
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
                write!(f, "`{SERVING_CERTIFICATE}` is of no CA in `{TRUSTED}`")
            }
        }
    }
}

impl Material {
    /// Reads what can be read, and says what is wrong with the rest.
    pub(super) fn read(data: &Data) -> (Self, Vec<Flaw>) {
        let mut flaws = Vec::new();
        let mut trusted = certificates(data, TRUSTED, &mut flaws);
        trusted.retain(|certificate| certificate.is_ca);
        trusted.dedup();
        let mut authority = |key| owned(data, key, TRUSTED, &trusted, &mut flaws);
        let has_next = data.contains_key(NEXT_KEY);
        let next = has_next.then(|| authority(NEXT_KEY)).flatten();
        // While the next CA waits to be trusted, nobody can make up for a lost key.
        let has_signer = data.contains_key(SIGNER_KEY) || !has_next;
        let signer = has_signer.then(|| authority(SIGNER_KEY)).flatten();
        let leaf = certificates(data, SERVING_CERTIFICATE, &mut flaws);
        let mut serving = owned(data, SERVING_KEY, SERVING_CERTIFICATE, &leaf, &mut flaws);
        // Whether it is too old is another question.
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

    /// Writes it into the data. What else is there stays.
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

    /// What the API server is to trust: PEM.
    pub(super) fn bundle(&self) -> String {
        self.trusted.iter().map(Certificate::pem).collect()
    }

    /// Whether everything is there to serve and to be trusted now.
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

/// The certificate to which a key belongs.
fn owned(
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
