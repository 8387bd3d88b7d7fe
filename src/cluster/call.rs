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

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use kube::core::Status;

    use super::*;

    #[tokio::test]
    async fn an_error_says_what_failed_and_why() {
        let limit = Duration::from_secs(10);
        let refused = kube::Error::Api(
            Status::failure("not yours", "Forbidden")
                .with_code(403)
                .boxed(),
        );
        let call = ready(kube::Result::<()>::Err(refused));
        let error = within(limit, "read the Lease", "slipway", call)
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(403));
        let message = error.to_string();
        assert!(
            message.starts_with("failed to read the Lease slipway: "),
            "{message}"
        );
        assert!(message.contains("not yours"), "{message}");
    }

    #[tokio::test]
    async fn a_call_without_an_answer_fails_when_its_time_is_over() {
        let call = pending::<kube::Result<()>>();
        let error = within(Duration::ZERO, "read the Lease", "slipway", call)
            .await
            .unwrap_err();
        assert_eq!(error.code(), None);
        assert_eq!(
            error.to_string(),
            "failed to read the Lease slipway: no answer within 0.0 s"
        );
    }
}
