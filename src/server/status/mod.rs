//! The status page, on the metrics' port: what this replica knows and decided, and what it would
//! decide about a manifest. Read-only: nothing that is sent here is kept, or changes anything.

mod attention;
mod decisions;
mod explain;
mod page;
mod report;
mod words;

use std::{
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use askama::Template;
use axum::{
    Router,
    extract::{RawQuery, State as Extract},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
            X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::{App, body::plain, connections::InTurn};
use decisions::Decisions;
use page::{Overview, STYLE};
use report::Status;

/// What the page keeps besides the cluster state.
#[derive(Debug)]
pub(super) struct State {
    /// The last decisions.
    pub(super) decisions: Decisions,
    /// Whether there is a page at all.
    pub(super) shown: bool,
    /// What tells this replica from others.
    pub(super) replica: Option<String>,
    started: SystemTime,
    /// One manifest at a time is read and looked at, so that no more than one is in memory and the
    /// webhook keeps the other processors.
    turn: Arc<Semaphore>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            decisions: Decisions::default(),
            shown: true,
            replica: None,
            started: SystemTime::now(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

/// The routes of the page.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(overview))
        .route("/status", get(status))
        .route("/explain", get(explain::form).post(explain::answer))
        .layer(map_response(guarded))
}

/// Nothing but the page's own style, no script, no frame, no copy in a cache.
async fn guarded(mut response: Response) -> Response {
    let own = [
        (CONTENT_SECURITY_POLICY, SECURITY_POLICY.clone()),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ];
    response.headers_mut().extend(own);
    response
}

/// The style stands in the page and is named by its hash.
static SECURITY_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

async fn overview(
    _: InTurn,
    Extract(app): Extract<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Response {
    let status = Status::of(&app);
    html(StatusCode::OK, &Overview::new(&status, query.as_deref()))
}

async fn status(_: InTurn, Extract(app): Extract<Arc<App>>) -> Response {
    json(&Status::of(&app))
}

fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => {
            let content_type = [(CONTENT_TYPE, "text/html; charset=utf-8")];
            (status, content_type, text).into_response()
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
