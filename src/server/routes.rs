//! The routes of both ports: `POST /mutate`, probes, metrics and the status page.

use std::{
    borrow::Cow,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode, Version,
        header::{CONNECTION, CONTENT_TYPE},
    },
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use slipway_core::{
    admission::{
        Admission, Answer, empty_managed_fields,
        review::{self, ReviewError},
    },
    k8s::names::MAX_SUBDOMAIN,
};
use tokio::{
    runtime::Handle,
    sync::OwnedSemaphorePermit,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use tracing::{error, warn};

use super::{
    App,
    body::{NotTaken, discard, json, plain, read},
    connections::Connection,
    decision_log, duration, exposition, hosts, status,
};
use crate::{cluster::state::ClusterState, metrics::Problem};

/// Reviews of pods are some 15 KB. Larger ones than this, in bytes, take milliseconds.
const LARGE: usize = 256 << 10;

/// Returns the routes of the webhook's port.
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

/// Returns the routes of the metrics port.
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
        .layer(from_fn_with_state(Arc::clone(&app), hosts::check))
        .with_state(app)
}

fn probes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
}

async fn no_such_path(request: Request, paths: &'static str) -> Response {
    discard(request.into_body()).await;
    let sentence = format!("not found; this port answers {paths}");
    plain(StatusCode::NOT_FOUND, &sentence)
}

async fn method_not_allowed(request: Request) -> Response {
    discard(request.into_body()).await;
    plain(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path needs another method",
    )
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let reasons = app.not_ready_because();
    if reasons.is_empty() {
        let detail = app.state.load().policy_error.as_ref().map_or_else(
            || "ready".to_owned(),
            |error| format!("ready, with the last good policy: {error}"),
        );
        plain(StatusCode::OK, &detail)
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, &reasons.join("\n"))
    }
}

async fn scrape(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let certificate = &app.certificate;
    app.metrics
        .replica
        .set_certificate(certificate.expires_at(), certificate.problem().is_some());
    match app.metrics.encode(&app.state.load()) {
        Ok(text) => {
            let (content_type, text) = exposition::negotiated(&headers, text);
            ([(CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn mutate(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
) -> Response {
    let start = Instant::now();
    let limit = time_limit(request.uri().query(), app.request_timeout);
    let (parts, body) = request.into_parts();
    let deadline = start + limit;
    let answered = async {
        // First the body, then the permit: on an HTTP/2 connection the bodies of requests that wait for a
        // permit would fill the window that the bodies of those with one need.
        let (mut body, _held) = read(&connection, body, deadline).await?;
        let in_flight = timeout_at(deadline, connection.request_in_flight());
        let _in_flight = in_flight.await.map_err(|_| NotTaken::Crowded)?;
        // Not on this thread in a large one, see `admit_large`.
        if body.len() <= LARGE {
            empty_managed_fields(&mut body);
        }
        let asked = Asked {
            from: connection.peer(),
            start,
            deadline,
        };
        answer(&app, body.into(), asked).await
    };
    let mut response = answered.await.unwrap_or_else(|not_taken| {
        app.metrics.server.count_problem(not_taken.problem());
        warn!(
            problem = not_taken.problem().into_str(),
            "request not taken"
        );
        not_taken.into_response()
    });
    // During a shutdown, tell HTTP/1.1 clients to connect elsewhere for the next request: they do not
    // repeat one that meets a closed connection. HTTP/2 says by itself which requests it still takes.
    if parts.version <= Version::HTTP_11 && app.shutdown.has_begun() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    app.metrics.server.observe_duration(start.elapsed());
    response
}

/// Returns the time limit of a request: ours, or the API server's if that is shorter. An answer after
/// that reaches nobody.
fn time_limit(query: Option<&str>, own: Duration) -> Duration {
    query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("timeout="))
        .and_then(|text| duration::parse(text).ok())
        .filter(|asked| !asked.is_zero())
        .map_or(own, |asked| asked.min(own))
}

/// Who asked for an admission, and when it must be answered.
#[derive(Clone, Copy)]
struct Asked {
    from: IpAddr,
    start: Instant,
    deadline: Instant,
}

/// Admits a pod, and reports what was decided.
async fn answer(app: &Arc<App>, body: Bytes, asked: Asked) -> Result<Response, NotTaken> {
    let start = asked.start;
    let state = app.state.load().clone();
    let admitted = if body.len() <= LARGE {
        admit(app, &body, &state, None, asked).await
    } else {
        admit_large(app, &body, &state, asked).await?
    };
    match admitted {
        Admitted::Answer(answer) => {
            app.metrics.server.count_decision(&answer.record);
            if answer.record.problem.is_some() {
                app.metrics.server.count_problem(Problem::BadRequest);
            }
            decision_log::write(&answer.record, start);
            if let (Some(left), Some(events)) = (answer.left_alone, &app.events) {
                events.put(left);
            }
            app.status.decisions.put(answer.record, start.elapsed());
            Ok(json(answer.body))
        }
        Admitted::Refused(error) => {
            app.metrics.server.count_problem(Problem::BadRequest);
            // The error may quote the body, which must not reach the log.
            warn!(problem = Problem::BadRequest.into_str(), "request refused");
            Ok(plain(StatusCode::BAD_REQUEST, &error.to_string()))
        }
        Admitted::Panicked => Ok(answer_after_panic(app, &body)),
    }
}

/// The result of an admission.
enum Admitted {
    Answer(Box<Answer>),
    Refused(ReviewError),
    Panicked,
}

/// Admits a pod. If its namespace is in doubt, looks it up; if it should get a claim of a pool, leases
/// one. `turn` is given back before these, which wait for the API server.
async fn admit(
    app: &App,
    body: &[u8],
    state: &ClusterState,
    turn: Option<OwnedSemaphorePermit>,
    asked: Asked,
) -> Admitted {
    let admission = match guarded(|| (app.evaluate)(body, state.cluster())) {
        Some(Ok(Admission::Done(answer))) => return Admitted::Answer(answer),
        Some(Ok(admission)) => admission,
        Some(Err(error)) => return Admitted::Refused(error),
        None => return Admitted::Panicked,
    };
    drop(turn);
    let newer = match (&admission, &app.lookup) {
        (Admission::InDoubt(doubt), Some(lookup)) => {
            lookup.newer_state(doubt.namespace(), asked.deadline).await
        }
        _ => None,
    };
    let settled = guarded(|| match (admission, &newer) {
        (Admission::InDoubt(doubt), Some(newer)) => doubt.decide_again(newer.cluster()),
        (admission, _) => admission.without_lookup(state.cluster()),
    });
    let answer = match (settled, &app.leaser) {
        (Some(Admission::NeedsClaim(pending)), Some(leaser)) => {
            let request = pending.claim_request();
            let lease = leaser.lease(request, asked.from, asked.deadline).await;
            guarded(|| pending.with_lease(lease))
        }
        (Some(settled), _) => guarded(|| settled.without_lease()),
        (None, _) => None,
    };
    answer.map_or(Admitted::Panicked, |answer| {
        Admitted::Answer(Box::new(answer))
    })
}

/// Admits a pod with a large body on a thread of its own, one at a time: it would block other requests
/// on this thread for milliseconds.
async fn admit_large(
    app: &Arc<App>,
    body: &Bytes,
    state: &Arc<ClusterState>,
    asked: Asked,
) -> Result<Admitted, NotTaken> {
    let turn = timeout_at(asked.deadline, Arc::clone(&app.large).acquire_owned()).await;
    let turn = turn.map_err(|_| NotTaken::Crowded)?.ok();
    let (app, body, state) = (Arc::clone(app), body.clone(), Arc::clone(state));
    let runtime = Handle::current();
    let admitting =
        spawn_blocking(move || runtime.block_on(admit(&app, &body, &state, turn, asked)));
    Ok(admitting.await.unwrap_or(Admitted::Panicked))
}

/// Runs a computation of the core; `None` if it panics.
fn guarded<T>(compute: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(compute)).ok()
}

/// Admits the pod unchanged: a defect of ours must not hold it up.
fn answer_after_panic(app: &App, body: &[u8]) -> Response {
    app.metrics.server.count_problem(Problem::Panic);
    // The panic's message may quote the pod, so it is neither logged nor sent.
    let Some(uid) = uid(body) else {
        error!(
            problem = Problem::Panic.into_str(),
            "panic; the request has no readable uid"
        );
        return plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "slipway panicked, and the request has no readable uid",
        );
    };
    error!(problem = Problem::Panic.into_str(), %uid, "panic; the pod is admitted unchanged");
    let response = review::Response {
        warnings: vec![
            "the pod is unchanged because Slipway panicked; please report this bug".to_owned(),
        ],
        ..review::Response::default()
    };
    json(response.to_json(&uid))
}

/// Reads the request's uid, whatever else the body holds. One that is longer than any is not repeated.
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
    Some(review.request.uid).filter(|uid| (1..=MAX_SUBDOMAIN).contains(&uid.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_time_limit_counts() {
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
        let long = format!(r#"{{"request": {{"uid": "{}"}}}}"#, "x".repeat(254));
        assert_eq!(uid(long.as_bytes()), None);
    }
}
