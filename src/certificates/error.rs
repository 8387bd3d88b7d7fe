//! Calls to the API server that fail.

use std::{future::Future, time::Duration};

/// The longest a call may take; the client itself has no timeout.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A call to the API server that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server refused the call, or could not be reached.
    #[error("failed to {action} {name}: {source}")]
    Refused {
        /// What the call was to do.
        action: &'static str,
        /// The name of the object.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("failed to {action} {name}: no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout {
        /// What the call was to do.
        action: &'static str,
        /// The name of the object.
        name: String,
    },
}

impl ApiError {
    /// Returns the HTTP status, if there was an answer.
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

/// Makes a call, and gives up after [`CALL_TIMEOUT`].
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
