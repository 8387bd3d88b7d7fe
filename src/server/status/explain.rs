//! What would be decided about a manifest, as `slipway explain --diff` says it, with the state of
//! this moment.

use std::sync::Arc;

use axum::{
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
    super::{
        App,
        body::{plain, read},
    },
    html, json,
    page::{ExplainPage, Form, Outcome, PodView},
};
use crate::cluster::state::ClusterState;

/// The largest manifest, in bytes: what an API server takes, and some comments.
const MAX_MANIFEST: usize = 2 << 20;
/// The most pods of one manifest.
const MAX_PODS: usize = 50;
/// What messages call the manifest.
const FILE: &str = "manifest";

/// A manifest to try.
pub(super) struct Example {
    /// Its name in the query.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    text: &'static str,
}

/// Manifests to try.
pub(super) const EXAMPLES: [Example; 4] = [
    Example {
        name: "scale-set",
        title: "ARC scale set with a dockerd",
        text: include_str!("../../../examples/pods/scale-set-dind.yaml"),
    },
    Example {
        name: "no-docker",
        title: "ARC scale set without one",
        text: include_str!("../../../examples/pods/no-docker.yaml"),
    },
    Example {
        name: "gitlab",
        title: "GitLab job",
        text: include_str!("../../../examples/pods/gitlab-build.yaml"),
    },
    Example {
        name: "legacy",
        title: "ARC legacy runner",
        text: include_str!("../../../examples/pods/legacy-sidecar.yaml"),
    },
];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the manifest is larger than {} MiB", MAX_MANIFEST >> 20)]
    TooLarge,
    #[error("the manifest is not UTF-8 text")]
    NotText,
    #[error("{0}")]
    Unreadable(String),
    #[error("there are no pods in the manifest")]
    NoPods,
    #[error("{0} pods are too many at once; {MAX_PODS} are not")]
    TooMany(usize),
    #[error("another manifest is being looked at, or this one took too long; try again")]
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

/// The empty form, or one with an example.
pub(super) async fn form(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "example");
    let example = asked.and_then(|(_, name)| {
        let mut examples = EXAMPLES.iter();
        examples.find_map(|example| (example.name == name).then_some(example.text))
    });
    let form = Form {
        manifest: example.unwrap_or_default().to_owned(),
        namespace: String::new(),
    };
    html(
        StatusCode::OK,
        &ExplainPage::new(&app.state.load(), &form, Outcome::None),
    )
}

/// Answers a form with a page, and anything else, which is the manifest itself, with JSON.
pub(super) async fn answer(State(app): State<Arc<App>>, request: Request) -> Response {
    let deadline = Instant::now() + app.request_timeout;
    let turn = Arc::clone(&app.status.turn).acquire_owned();
    let Ok(Ok(turn)) = timeout_at(deadline, turn).await else {
        return Refusal::Busy.into_response();
    };
    let (parts, body) = request.into_parts();
    let bytes = match read(body, deadline).await {
        Ok(bytes) => bytes,
        Err(not_taken) => return not_taken.into_response(),
    };
    let state = app.state.load().clone();
    // It goes on when the client has gone, and keeps its turn until then.
    let looking = spawn_blocking(move || {
        let _turn = turn;
        respond(&state, &parts, bytes)
    });
    looking.await.unwrap_or_else(|_| {
        // The panic's message may quote the manifest.
        Refusal::Defect("slipway panicked; please report it".to_owned()).into_response()
    })
}

fn respond(state: &ClusterState, parts: &Parts, body: Vec<u8>) -> Response {
    if let Some(form) = form_of(parts, &body) {
        return page_of(state, &form);
    }
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let namespace = pairs.find_map(|(key, value)| (key == "namespace").then(|| value.into_owned()));
    match String::from_utf8(body) {
        Ok(manifest) => data_of(
            state,
            &Form {
                manifest,
                namespace: namespace.unwrap_or_default(),
            },
        ),
        Err(_) => Refusal::NotText.into_response(),
    }
}

fn page_of(state: &ClusterState, form: &Form) -> Response {
    let refused = |refusal: &Refusal| {
        let message = refusal.to_string();
        let page = ExplainPage::new(state, form, Outcome::Refused(&message));
        html(refusal.status(), &page)
    };
    let items = match items(form) {
        Ok(items) => items,
        Err(refusal) => return refused(&refusal),
    };
    match look(&items, state) {
        Ok(pods) => {
            let page = ExplainPage::new(state, form, Outcome::Pods(&pods));
            html(StatusCode::OK, &page)
        }
        Err(refusal) => refused(&refusal),
    }
}

fn data_of(state: &ClusterState, form: &Form) -> Response {
    let answer = items(form).and_then(|items| {
        let pods = look(&items, state)?;
        let diff: String = pods.iter().map(|pod| pod.diff.as_str()).collect();
        let reports: Vec<&Report<'_>> = pods.iter().map(|pod| &pod.report).collect();
        Ok(json(&serde_json::json!({"pods": reports, "diff": diff})))
    });
    answer.unwrap_or_else(Refusal::into_response)
}

/// The form, if the body is one. `curl --data` calls everything a form.
fn form_of(parts: &Parts, body: &[u8]) -> Option<Form> {
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

/// What `slipway explain --diff` does.
fn look<'a>(items: &'a [Item<'a>], state: &'a ClusterState) -> Result<Vec<PodView<'a>>, Refusal> {
    let defect = |error: &dyn ToString| Refusal::Defect(error.to_string());
    let cluster = state.cluster();
    let changed = inject_all(items, cluster, |_, _| ()).map_err(|error| defect(&error))?;
    let mut views = Vec::new();
    for (item, changed) in items.iter().zip(&changed) {
        let mut diffs: Vec<_> = changed.diffs().collect();
        for subject in &item.subjects {
            let looked = subject.look(cluster).map_err(|error| defect(&error))?;
            let diff = diffs.iter_mut().find(|(of, _)| std::ptr::eq(*of, subject));
            views.push(PodView {
                report: Report::new(item.file, subject, &looked, cluster),
                caveat: subject.place.caveat,
                diff: diff
                    .map(|(_, diff)| std::mem::take(diff))
                    .unwrap_or_default(),
            });
        }
    }
    Ok(views)
}
