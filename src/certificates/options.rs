//! Where certificates come from, and where they go.

use std::{fmt, path::PathBuf, str::FromStr};

/// Who issues the certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Slipway itself.
    #[default]
    Own,
    /// cert-manager, which also writes the caBundle.
    CertManager,
    /// The operator, who also writes the caBundle.
    Provided,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Own, Self::CertManager, Self::Provided];

    /// Returns the mode as arguments spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "self",
            Self::CertManager => "cert-manager",
            Self::Provided => "provided",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| "it must be self, cert-manager or provided".to_owned())
    }
}

/// Where certificates come from, and where they go.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who issues them.
    pub mode: Mode,
    /// The namespace of Slipway.
    pub namespace: String,
    /// The Service through which the API server reaches the webhook.
    pub service: String,
    /// The Secret of mode `self`, in that namespace.
    pub secret: String,
    /// The MutatingWebhookConfiguration whose caBundle mode `self` writes.
    pub webhook_configuration: String,
    /// The directory where the other modes find `tls.crt` and `tls.key`.
    pub directory: PathBuf,
}

impl Options {
    /// Returns the host name by which the API server calls the webhook.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// Returns the names in the serving certificate, first the one that the API server checks.
    pub(super) fn names(&self) -> Vec<String> {
        let host = self.host();
        vec![
            host.clone(),
            format!("{host}.cluster.local"),
            format!("{}.{}", self.service, self.namespace),
            self.service.clone(),
        ]
    }
}
