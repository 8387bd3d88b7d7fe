//! Certificates that others issue: `tls.crt` and `tls.key` in a mounted directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tracing::{info, warn};

use super::x509::Certificate;
use crate::tls::ServingCertificate;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// How often the files are read. The kubelet swaps symbolic links, which file notifications do not
/// report reliably; reading two small files costs nothing.
const POLL: Duration = Duration::from_secs(5);

/// A reason why the files cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("failed to read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} does not hold a {what} in PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The key belongs to another certificate, or is of a kind that TLS does not support.
    #[error("the certificate and the key in {directory} cannot be used together: {source}")]
    Pair {
        /// The directory of both.
        directory: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
    /// The certificate has expired, and the one that is served has not.
    #[error("the certificate in {directory} has expired")]
    Expired {
        /// The directory of the certificate.
        directory: PathBuf,
    },
}

/// Serves what is in the directory and follows its changes, forever.
pub(super) async fn follow(directory: &Path, name: &str, serving: &ServingCertificate) {
    loop {
        reload(directory, name, serving, SystemTime::now());
        tokio::time::sleep(POLL).await;
    }
}

/// Serves what is in the directory now. If that is impossible, for example because it is half
/// written, the last good certificate stays in use, and its `problem` says why.
pub fn reload(directory: &Path, name: &str, serving: &ServingCertificate, now: SystemTime) {
    let new = match load(directory, serving, now) {
        Ok(new) => new,
        Err(error) => {
            if serving.set_problem(error.to_string()) {
                warn!(%error, "still serving the last good certificate, if there is one");
            }
            return;
        }
    };
    if serving.clear_problem() {
        info!("the certificate files are usable again");
    }
    let Some(leaf) = new else { return };
    info!(directory = %directory.display(), "serving a new certificate");
    if !leaf.is_for(name) {
        warn!(
            name,
            "the certificate is not for this name, so the API server will refuse it"
        );
    }
}

/// Loads the files into `serving`. Returns the certificate if it is a new one.
fn load(
    directory: &Path,
    serving: &ServingCertificate,
    now: SystemTime,
) -> Result<Option<Certificate>, FilesError> {
    let (certificate_path, key_path) = (directory.join(CERTIFICATE), directory.join(KEY));
    let bad = |path: &Path, what| FilesError::Pem {
        path: path.to_owned(),
        what,
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&read(&certificate_path)?)
            .collect::<Result<_, _>>()
            .map_err(|_| bad(&certificate_path, "certificate"))?;
    let leaf = chain
        .first()
        .cloned()
        .and_then(Certificate::read)
        .ok_or_else(|| bad(&certificate_path, "certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&key_path)?)
        .map_err(|_| bad(&key_path, "private key"))?;
    let served_longer = serving.expires_at().is_some_and(|end| leaf.not_after < end);
    if leaf.not_after <= now && served_longer {
        return Err(FilesError::Expired {
            directory: directory.to_owned(),
        });
    }
    let is_new = serving
        .replace(chain, key)
        .map_err(|source| FilesError::Pair {
            directory: directory.to_owned(),
            source,
        })?;
    Ok(is_new.then_some(leaf))
}

fn read(path: &Path) -> Result<Vec<u8>, FilesError> {
    fs::read(path).map_err(|source| FilesError::Read {
        path: path.to_owned(),
        source,
    })
}
