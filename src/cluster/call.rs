//! Calls to the API server with a time limit. The client's own timeout is made for watches, and far
//! too long for anything else.

use std::{future::Future, time::Duration};

/// A call to the API server that failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server refused the call, or could not be reached.
    #[error("failed to {action} {name}: {source}")]
    Refused {
        /// What the call was to do.
        action: &'static str,
        /// The name of the object.
        name: String,
        /// The cause.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("failed to {action} {name}: no answer within {:.1} s", limit.as_secs_f64())]
    Timeout {
        /// What the call was to do.
        action: &'static str,
        /// The name of the object.
        name: String,
        /// The time limit of the call.
        limit: Duration,
    },
}

impl CallError {
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

/// Makes a call, and gives up after `limit`. `action` and `name` describe it in the error.
pub(crate) async fn within<T>(
    limit: Duration,
    action: &'static str,
    name: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallError> {
    let name = || name.to_owned();
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(|source| CallError::Refused {
            action,
            name: name(),
            source: Box::new(source),
        }),
        Err(_) => Err(CallError::Timeout {
            action,
            name: name(),
            limit,
        }),
    }
}
