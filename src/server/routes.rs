//! What is answered: `POST /mutate`, the probes, the metrics.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode, Version,
        header::{CONNECTION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{error, info, warn};

use super::{
    App,
    connections::{Held, Seat},
    duration, exposition, status,
};
use crate::{
    admit::{Answer, Record},
    decide::Cluster,
    metrics::Problem,
    review::{self, ReviewError},
};

/// The API server sends at most two objects of 1.5 MiB; this is more than enough.
pub(super) const BODY_LIMIT: usize = 8 << 20;
/// How much of a larger body is read and thrown away, so that its sender reads the answer.
const DRAIN_LIMIT: usize = 64 << 20;
/// How long that may take where nothing else limits it.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(4);
/// What a body's announced length may reserve before any of it is there.
const MAX_RESERVED: usize = 64 << 10;
/// Longer answers to bad requests are cut.
const MAX_SENTENCE_CHARS: usize = 512;

/// The routes of the webhook's port.
pub(super) fn webhook(app: Arc<App>) -> Router {
    Router::new()
        .route("/mutate", post(mutate))
        .merge(probes())
        .fallback(|request: Request| {
            no_such_path(request, "POST /mutate, GET /healthz and GET /readyz")
        })
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

/// The routes of the metrics' port.
pub(super) fn metrics(app: Arc<App>) -> Router {
    let routes = Router::new().route("/metrics", get(scrape)).merge(probes());
    let (routes, paths) = if app.status.shown {
        let paths = "GET /, /status, /explain, /metrics, /healthz and /readyz";
        (routes.merge(status::routes()), paths)
    } else {
        (routes, "GET /metrics, /healthz and /readyz")
    };
    routes
        .fallback(move |request: Request| no_such_path(request, paths))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

fn probes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
}

async fn no_such_path(request: Request, paths: &'static str) -> Response {
    discard(request.into_body()).await;
    let sentence = format!("there is nothing here; this port answers {paths}");
    plain(StatusCode::NOT_FOUND, &sentence)
}

async fn method_not_allowed(request: Request) -> Response {
    discard(request.into_body()).await;
    plain(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path is asked with another method",
    )
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let reasons = app.not_ready_because();
    if reasons.is_empty() {
        let detail = app.facts.load().policy_error.as_ref().map_or_else(
            || "ready".to_owned(),
            |error| format!("ready, with the last good policy: {error}"),
        );
        plain(StatusCode::OK, &detail)
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, &reasons.join("\n"))
    }
}

async fn scrape(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    app.metrics.certificate(&app.certificate);
    match app.metrics.encode(&app.facts.load()) {
        Ok(text) => {
            let (content_type, text) = exposition::negotiated(&headers, text);
            ([(CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn mutate(State(app): State<Arc<App>>, request: Request) -> Response {
    let start = Instant::now();
    let limit = time_limit(request.uri().query(), app.request_timeout);
    let (parts, body) = request.into_parts();
    let seat = parts.extensions.get::<Arc<Seat>>();
    let _busy = seat.map(Seat::busy);
    let deadline = start + limit;
    let mut response = match read_in_turn(seat, body, deadline).await {
        Ok((body, _held)) => answer(&app, &body, start, deadline).await,
        Err(unread) => {
            app.metrics.problem(unread.problem());
            warn!(problem = unread.problem().code(), "request body not read");
            unread.into_response()
        }
    };
    // Its end: the client is told to connect anew, elsewhere. Closed without a word, a connection
    // could meet the next request on its way, and HTTP/1.1 clients do not repeat that one. (HTTP/2
    // says by itself which requests it still takes.)
    if parts.version <= Version::HTTP_11 && app.shutdown.has_begun() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    app.metrics.took(start.elapsed());
    response
}

/// The API server tells how long it waits: an answer after that is for nobody.
fn time_limit(query: Option<&str>, own: Duration) -> Duration {
    query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("timeout="))
        .and_then(|text| duration::parse(text).ok())
        .filter(|asked| !asked.is_zero())
        .map_or(own, |asked| asked.min(own))
}

/// Reads the whole body once there is room for it, keeps the room, and waits until it is the request's
/// turn.
async fn read_in_turn(
    seat: Option<&Arc<Seat>>,
    body: Body,
    deadline: Instant,
) -> Result<(Vec<u8>, Option<Held>), Unread> {
    let Some(seat) = seat else {
        return Ok((read(body, deadline).await?, None));
    };
    let crowded = |_| Unread::Crowded;
    let size = announced_length(&body).unwrap_or(BODY_LIMIT);
    // Of a body that is too large nothing is kept.
    let held = if size <= BODY_LIMIT {
        let hold = timeout_at(deadline, seat.hold(size));
        hold.await.map_err(crowded)?
    } else {
        None
    };
    let body = read(body, deadline).await?;
    let turn = timeout_at(deadline, seat.turn_to_answer());
    turn.await.map_err(crowded)?;
    Ok((body, held))
}

/// How long the body will be, when its sender said so.
fn announced_length(body: &Body) -> Option<usize> {
    let bytes = body.size_hint().exact()?;
    usize::try_from(bytes).ok()
}

/// Why there is no body.
#[derive(Debug)]
pub(super) enum Unread {
    TooLarge,
    Deadline,
    /// The peer asks for more than one peer gets.
    Crowded,
    Broken,
}

impl Unread {
    fn problem(&self) -> Problem {
        match self {
            Self::TooLarge => Problem::TooLarge,
            Self::Deadline | Self::Crowded => Problem::Deadline,
            Self::Broken => Problem::BadRequest,
        }
    }

    pub(super) fn into_response(self) -> Response {
        match self {
            Self::TooLarge => plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!("the body is larger than {} MiB", BODY_LIMIT >> 20),
            ),
            Self::Deadline => plain(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            ),
            Self::Crowded => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "the time was up before others from the same address were answered",
            ),
            Self::Broken => plain(StatusCode::BAD_REQUEST, "the body broke off before its end"),
        }
    }
}

/// Reads the whole body. One beyond the limit is thrown away as it comes: an answer before its end
/// would reset the connection, and the API server would see that instead of the answer.
pub(super) async fn read(mut body: Body, deadline: Instant) -> Result<Vec<u8>, Unread> {
    let announced = announced_length(&body).unwrap_or_default();
    let mut bytes = Vec::with_capacity(announced.min(MAX_RESERVED));
    let mut total = 0_usize;
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) | Ok(None) if total > BODY_LIMIT => return Err(Unread::TooLarge),
            Err(_) => return Err(Unread::Deadline),
            Ok(Some(Err(_))) => return Err(Unread::Broken),
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(bytes),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        total = total.saturating_add(data.len());
        keep(&mut bytes, &data, total.max(announced));
        if total > DRAIN_LIMIT {
            return Err(Unread::TooLarge);
        }
    }
}

/// Throws a body away as it comes, for the same reason.
async fn discard(body: Body) {
    let mut left = DRAIN_LIMIT;
    let mut frames = pin!(body.into_data_stream());
    let drained = async {
        while let Some(Ok(data)) = frames.next().await
            && let Some(less) = left.checked_sub(data.len())
        {
            left = less;
        }
    };
    // Whoever is slower than that does not read the answer either.
    let _ = timeout(DISCARD_TIMEOUT, drained).await;
}

fn keep(bytes: &mut Vec<u8>, data: &Bytes, total: usize) {
    if total > BODY_LIMIT {
        *bytes = Vec::new();
    } else {
        bytes.extend_from_slice(data);
    }
}

/// Decides. A pod that should have a claim of a pool is decided on once more, when it is known what
/// came of that; everything else is answered from what is known already.
async fn answer(app: &App, body: &[u8], start: Instant, deadline: Instant) -> Response {
    let facts = app.facts.load().clone();
    let mut evaluated = evaluate(app, body, facts.cluster());
    if let (Evaluated::Answer(answer), Some(leaser)) = (&evaluated, &app.leaser)
        && let Some(wish) = &answer.wish
    {
        let grant = leaser.lease(wish, deadline).await;
        let mut cluster = facts.cluster();
        cluster.pools.grant = Some(&grant);
        evaluated = evaluate(app, body, cluster);
    }
    match evaluated {
        Evaluated::Answer(answer) => {
            app.metrics.decided(&answer.record);
            if answer.record.problem.is_some() {
                app.metrics.problem(Problem::BadRequest);
            }
            log(&answer.record, start);
            if let (Some(left), Some(events)) = (answer.left_alone, &app.events) {
                events.put(left);
            }
            app.status.decisions.put(answer.record, start.elapsed());
            json(answer.body)
        }
        Evaluated::Refused(error) => {
            app.metrics.problem(Problem::BadRequest);
            // The sentence may quote the body, which is not for the log.
            warn!(problem = Problem::BadRequest.code(), "request refused");
            plain(StatusCode::BAD_REQUEST, &error.to_string())
        }
        Evaluated::Panicked => answer_after_panic(app, body),
    }
}

/// What came of a request.
enum Evaluated {
    Answer(Box<Answer>),
    Refused(ReviewError),
    Panicked,
}

fn evaluate(app: &App, body: &[u8], cluster: Cluster<'_>) -> Evaluated {
    match catch_unwind(AssertUnwindSafe(|| (app.evaluate)(body, cluster))) {
        Ok(Ok(answer)) => Evaluated::Answer(Box::new(answer)),
        Ok(Err(error)) => Evaluated::Refused(error),
        Err(_) => Evaluated::Panicked,
    }
}

/// One line a decision. What it says is worked out only when the level is on.
fn log(record: &Record, start: Instant) {
    info!(
        uid = record.uid,
        namespace = record.namespace,
        pod = record.pod,
        system = record.system,
        profile = record.profile,
        strategy = record.strategy.as_str(),
        reason = record.reason,
        operations = record.operations,
        dry_run = record.dry_run,
        duration_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
        "decided"
    );
}

/// No pod is held up by a defect of ours: it is let through as it is.
fn answer_after_panic(app: &App, body: &[u8]) -> Response {
    app.metrics.problem(Problem::Panic);
    // The panic's message may quote the pod, so it is neither logged nor sent.
    let Some(uid) = uid(body) else {
        error!(
            problem = Problem::Panic.code(),
            "panic; the request has no readable uid"
        );
        return plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "slipway panicked, and the request has no readable uid to answer to",
        );
    };
    error!(problem = Problem::Panic.code(), %uid, "panic; the pod is let through unchanged");
    let response = review::Response {
        warnings: vec![
            "the pod is unchanged, because a defect of Slipway made it panic; please report it"
                .to_owned(),
        ],
        ..review::Response::default()
    };
    json(response.to_json(&uid))
}

/// The request's uid, whatever the rest of the body looks like.
fn uid(body: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Review<'a> {
        #[serde(borrow)]
        request: Request<'a>,
    }
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow)]
        uid: Cow<'a, str>,
    }
    let review: Review<'_> = serde_json::from_slice(body).ok()?;
    Some(review.request.uid).filter(|uid| !uid.is_empty())
}

pub(super) fn json(body: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// One sentence.
pub(super) fn plain(status: StatusCode, sentence: &str) -> Response {
    let text: String = sentence
        .chars()
        .take(MAX_SENTENCE_CHARS)
        .chain(['\n'])
        .collect();
    let content_type = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, content_type, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_of_both_time_limits_counts() {
        let own = Duration::from_secs(4);
        for (query, seconds) in [
            (None, 4),
            (Some("timeout=2s"), 2),
            (Some("timeout=10s"), 4),
            (Some("a=b&timeout=1s"), 1),
            (Some("timeout=0s"), 4),
            (Some("timeout=soon"), 4),
        ] {
            assert_eq!(
                time_limit(query, own),
                Duration::from_secs(seconds),
                "{query:?}"
            );
        }
    }

    #[test]
    fn the_uid_is_found_in_an_otherwise_wrong_review() {
        assert_eq!(
            uid(br#"{"kind": 7, "request": {"uid": "a", "object": []}}"#).unwrap(),
            "a"
        );
        assert_eq!(uid(br#"{"request": {"uid": "\u0061"}}"#).unwrap(), "a");
        assert_eq!(uid(br#"{"request": {"uid": ""}}"#), None);
        assert_eq!(uid(b"{}"), None);
    }
}
