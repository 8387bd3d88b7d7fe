//! Calls of the API server that fail.

use std::{future::Future, time::Duration};

/// A call that takes longer has failed: the client itself would wait for ever.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server refuses, or cannot be reached.
    #[error("failed to {action} {name}: {source}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// On what.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// It does not answer.
    #[error("failed to {action} {name}: no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout {
        /// What was tried.
        action: &'static str,
        /// On what.
        name: String,
    },
}

impl ApiError {
    /// The HTTP status, if there was an answer.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Timeout { .. } => None,
        }
    }
}

pub(super) async fn within<T>(
    action: &'static str,
    name: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    let name = || name.to_owned();
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(result) => result.map_err(|source| ApiError::Refused {
            action,
            name: name(),
            source: Box::new(source),
        }),
        Err(_) => Err(ApiError::Timeout {
            action,
            name: name(),
        }),
    }
}
