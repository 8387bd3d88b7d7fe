//! The style of the pages, and the `Content-Security-Policy` that admits it and nothing else.

use std::sync::LazyLock;

use axum::http::HeaderValue;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

/// The style sheet, which each page contains.
pub(super) const STYLE: &str = include_str!("style.css");

/// The policy: the style sheet is admitted by its hash; scripts and anything remote are not.
pub(super) static SECURITY_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});
