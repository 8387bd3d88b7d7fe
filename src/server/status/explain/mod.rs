//! `/explain`: what Slipway would decide about a manifest, as `slipway explain --diff` does, with the
//! cluster state of this replica.

mod page;

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawQuery, Request, State},
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
};
use slipway_core::explain::{Item, change::inject_all, report::Report};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use super::{
    form::Form,
    response::{html, json},
};
use crate::{
    cluster::state::ClusterState,
    server::{
        App,
        body::{plain, read},
        connections::Connection,
    },
};
use page::{ExplainPage, Outcome, PodView};

/// The largest manifest, in bytes: what an API server accepts, with room for comments.
const MAX_MANIFEST: usize = 2 << 20;
/// The most pods that one manifest may contain.
const MAX_PODS: usize = 50;
/// The file name in messages and diffs.
const FILE: &str = "manifest";

/// A reason to refuse a manifest.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the manifest is larger than {} MiB", MAX_MANIFEST >> 20)]
    TooLarge,
    #[error("the manifest is not UTF-8 text")]
    NotText,
    #[error("{0}")]
    Unreadable(String),
    #[error("the manifest contains no pods")]
    NoPods,
    #[error("the manifest contains {0} pods; the limit is {MAX_PODS}")]
    TooMany(usize),
    #[error("another manifest is being explained; try again")]
    Busy,
    #[error("{0}")]
    Defect(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        plain(self.status(), &self.to_string())
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotText | Self::Unreadable(_) | Self::NoPods | Self::TooMany(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Defect(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Shows the form: empty, or with the example that the query names.
pub(super) async fn form(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let example = pairs.find_map(|(key, value)| (key == "example").then_some(value));
    let form = Form::with_example(example.as_deref());
    html(
        StatusCode::OK,
        &ExplainPage::new(&app.state.load(), &form, Outcome::None),
    )
}

/// Answers the form with a page. Any other body is the manifest itself and is answered with JSON.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
) -> Response {
    let deadline = Instant::now() + app.request_timeout;
    let permit = Arc::clone(&app.status.explaining).acquire_owned();
    let Ok(Ok(permit)) = timeout_at(deadline, permit).await else {
        return Refusal::Busy.into_response();
    };
    let (parts, body) = request.into_parts();
    let (bytes, held) = match read(&connection, body, deadline).await {
        Ok(read) => read,
        Err(not_taken) => return not_taken.into_response(),
    };
    let state = app.state.load().clone();
    // The thread cannot be cancelled when the client leaves, so what it holds goes with it.
    let explaining = spawn_blocking(move || {
        let _held = (permit, held);
        respond(&state, &parts, bytes)
    });
    explaining.await.unwrap_or_else(|_| {
        // The panic's own message may quote the manifest.
        Refusal::Defect("slipway panicked; please report it".to_owned()).into_response()
    })
}

fn respond(state: &ClusterState, parts: &Parts, body: Vec<u8>) -> Response {
    if let Some(form) = parse_form(parts, &body) {
        return respond_with_page(state, &form);
    }
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let namespace = pairs.find_map(|(key, value)| (key == "namespace").then(|| value.into_owned()));
    let Ok(manifest) = String::from_utf8(body) else {
        return Refusal::NotText.into_response();
    };
    let namespace = namespace.unwrap_or_default();
    respond_with_json(
        state,
        &Form {
            manifest,
            namespace,
        },
    )
}

fn respond_with_page(state: &ClusterState, form: &Form) -> Response {
    let refused = |refusal: &Refusal| {
        let message = refusal.to_string();
        let page = ExplainPage::new(state, form, Outcome::Refused(&message));
        html(refusal.status(), &page)
    };
    let items = match items(form) {
        Ok(items) => items,
        Err(refusal) => return refused(&refusal),
    };
    match explain(&items, state) {
        Ok(pods) => {
            let page = ExplainPage::new(state, form, Outcome::Pods(&pods));
            html(StatusCode::OK, &page)
        }
        Err(refusal) => refused(&refusal),
    }
}

fn respond_with_json(state: &ClusterState, form: &Form) -> Response {
    let answer = items(form).and_then(|items| {
        let pods = explain(&items, state)?;
        let diff: String = pods.iter().map(|pod| pod.diff.as_str()).collect();
        let reports: Vec<&Report<'_>> = pods.iter().map(|pod| &pod.report).collect();
        Ok(json(&serde_json::json!({"pods": reports, "diff": diff})))
    });
    answer.unwrap_or_else(Refusal::into_response)
}

/// Parses the form; `None` if the body is not one, whatever its type says: `curl --data` calls
/// everything a form.
fn parse_form(parts: &Parts, body: &[u8]) -> Option<Form> {
    let kind = parts.headers.get(CONTENT_TYPE)?.as_bytes();
    if !kind.starts_with(b"application/x-www-form-urlencoded") {
        return None;
    }
    let (mut manifest, mut namespace) = (None, String::new());
    for (key, value) in form_urlencoded::parse(body) {
        match &*key {
            "manifest" => manifest = Some(value.into_owned()),
            "namespace" => value.trim().clone_into(&mut namespace),
            _ => {}
        }
    }
    Some(Form {
        manifest: manifest?,
        namespace,
    })
}

/// Reads the manifest within its limits.
fn items(form: &Form) -> Result<Vec<Item<'_>>, Refusal> {
    if form.manifest.len() > MAX_MANIFEST {
        return Err(Refusal::TooLarge);
    }
    let namespace = Some(form.namespace.as_str()).filter(|name| !name.is_empty());
    let items = Item::read_all(FILE, &form.manifest, namespace)
        .map_err(|error| Refusal::Unreadable(error.to_string()))?;
    match items.iter().map(|item| item.subjects.len()).sum() {
        0 => Err(Refusal::NoPods),
        pods if pods > MAX_PODS => Err(Refusal::TooMany(pods)),
        _ => Ok(items),
    }
}

/// Decides on every pod, as `slipway explain --diff` does.
fn explain<'a>(
    items: &'a [Item<'a>],
    state: &'a ClusterState,
) -> Result<Vec<PodView<'a>>, Refusal> {
    let defect = |error: &dyn ToString| Refusal::Defect(error.to_string());
    let cluster = state.cluster();
    let changed = inject_all(items, cluster, |_, _| ()).map_err(|error| defect(&error))?;
    let mut views = Vec::new();
    for (item, changed) in items.iter().zip(&changed) {
        let mut diffs: Vec<_> = changed.diffs().collect();
        for subject in &item.subjects {
            let looked = subject.evaluate(cluster).map_err(|error| defect(&error))?;
            let diff = diffs.iter_mut().find(|(of, _)| std::ptr::eq(*of, subject));
            views.push(PodView {
                report: Report::new(item.file, subject, &looked, cluster),
                caveat: subject.location.caveat,
                diff: diff
                    .map(|(_, diff)| std::mem::take(diff))
                    .unwrap_or_default(),
            });
        }
    }
    Ok(views)
}
