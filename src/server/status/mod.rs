//! The status page, on the metrics port: what this replica knows and has decided, and what it would
//! decide about a manifest. Read-only: nothing that is sent here is kept or changes anything.
//!
//! Data flows one way: `decisions` and the cluster state become `sections`, which become the
//! `report`, which the `overview` shows. `explain` is a page of its own.

mod attention;
mod decisions;
mod drawing;
mod explain;
mod form;
mod overview;
mod report;
mod response;
mod sections;
mod style;
mod words;

use std::{sync::Arc, time::SystemTime};

use axum::{
    Router,
    extract::{RawQuery, State as Extract},
    http::StatusCode,
    middleware::map_response,
    response::Response,
    routing::get,
};
use tokio::sync::Semaphore;

use super::App;
use decisions::Decisions;
use overview::Overview;
use report::Status;
use response::{html, json, secured};

/// The state of the status page, in addition to that of the cluster.
#[derive(Debug)]
pub(super) struct State {
    /// The latest decisions.
    pub(super) decisions: Decisions,
    /// Whether the page is served.
    pub(super) shown: bool,
    /// The name of this replica.
    pub(super) replica: Option<String>,
    started: SystemTime,
    /// Held while a manifest is read and explained: one at a time, so that only one is in memory and
    /// the webhook keeps the other processors.
    explaining: Arc<Semaphore>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            decisions: Decisions::default(),
            shown: true,
            replica: None,
            started: SystemTime::now(),
            explaining: Arc::new(Semaphore::new(1)),
        }
    }
}

/// Returns the routes of the page.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(overview))
        .route("/status", get(status))
        .route("/explain", get(explain::form).post(explain::answer))
        .layer(map_response(secured))
}

async fn overview(Extract(app): Extract<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let status = Status::of(&app);
    html(StatusCode::OK, &Overview::new(&status, query.as_deref()))
}

async fn status(Extract(app): Extract<Arc<App>>) -> Response {
    json(&Status::of(&app))
}
