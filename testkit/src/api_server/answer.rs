//! Requests and their answers: the log of calls, the scripted faults, the verb.

use std::{borrow::Cow, io};

use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
    http::request::Parts,
};
use serde_json::{Value, json};

use super::{
    ApiServer, Call,
    faults::Effect,
    locked,
    object::Writer,
    path::{Route, Verb},
    problem::Problem,
    verbs, watching,
};

/// An answer, or an error that breaks the connection.
pub type Answer = Result<Response<Body>, io::Error>;
/// A complete body, or a stream of events.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A parsed request.
#[derive(Debug)]
pub struct Asked {
    pub route: Route,
    pub verb: Verb,
    pub query: Query,
    pub content_type: String,
    pub body: Value,
    pub writer: Writer,
}

/// A decoded query.
#[derive(Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        });
        Self(decoded.collect())
    }

    /// Returns a parameter; empty if it is absent.
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// Returns whether a parameter is true.
    pub fn is(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1")
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, code.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Answers one request.
pub async fn answer(server: ApiServer, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    if let Some(body) = fixed(parts.uri.path()) {
        return Ok(whole(200, &body));
    }
    let asked = match understand(&parts, &bytes) {
        Ok(asked) => asked,
        Err(problem) => return Ok(refusal(&problem)),
    };
    let user = user(&parts);
    let number = log(&server, &parts, &asked, &user);
    let effect = locked(&server.0.faults).take(&user, asked.verb, parts.uri.path());
    let mut answer_is_lost = false;
    let scripted = match effect {
        None => None,
        Some(Effect::Answer(code)) => Some(refusal(&Problem::scripted(code))),
        Some(Effect::Close) => return Err(io::Error::other("closed by the test")),
        Some(Effect::LoseAnswer) => {
            answer_is_lost = true;
            None
        }
        Some(Effect::Run(act)) => {
            act(&server);
            None
        }
        Some(Effect::Hold(gate)) => {
            gate.pass().await;
            None
        }
    };
    let response = scripted.unwrap_or_else(|| perform(&server, &asked));
    if answer_is_lost {
        return Err(io::Error::other("lost by the test"));
    }
    note_status(&server, number, response.status().as_u16());
    Ok(response)
}

fn perform(server: &ApiServer, asked: &Asked) -> Response<Body> {
    if asked.verb == Verb::Watch {
        return watching::open(server, asked).unwrap_or_else(|problem| refusal(&problem));
    }
    match server.store(|store| verbs::perform(store, asked)) {
        Ok((status, body)) => whole(status, &body),
        Err(problem) => refusal(&problem),
    }
}

/// Answers the paths that do not depend on the store.
fn fixed(path: &str) -> Option<Value> {
    match path {
        "/version" => Some(json!({"major": "1", "minor": "37", "gitVersion": "v1.37.0"})),
        "/healthz" | "/livez" | "/readyz" => Some(json!("ok")),
        _ => None,
    }
}

fn understand(parts: &Parts, bytes: &[u8]) -> Result<Asked, Problem> {
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let route = Route::parse(parts.uri.path())?;
    let verb = route
        .verb(parts.method.as_str(), query.is("watch"))
        .ok_or_else(|| Problem::new(405, "MethodNotAllowed", "not with this method"))?;
    let body = match bytes {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes)
            .map_err(|error| Problem::bad_request(error.to_string()))?,
    };
    let content_type = header(parts, CONTENT_TYPE.as_str());
    let writer = Writer {
        manager: match query.get("fieldManager") {
            "" => header(parts, USER_AGENT.as_str())
                .split('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
            manager => manager.to_owned(),
        },
        apply: content_type.starts_with("application/apply-patch"),
    };
    Ok(Asked {
        route,
        verb,
        query,
        content_type: content_type.into_owned(),
        body,
        writer,
    })
}

fn header<'a>(parts: &'a Parts, name: &str) -> Cow<'a, str> {
    parts.headers.get(name).map_or(Cow::Borrowed(""), |value| {
        String::from_utf8_lossy(value.as_bytes())
    })
}

fn user(parts: &Parts) -> String {
    let value = header(parts, AUTHORIZATION.as_str());
    value.strip_prefix("Bearer ").unwrap_or_default().to_owned()
}

/// Logs the call. Returns its index.
fn log(server: &ApiServer, parts: &Parts, asked: &Asked, user: &str) -> usize {
    let manager = Some(asked.query.get("fieldManager")).filter(|name| !name.is_empty());
    let call = Call {
        user: user.to_owned(),
        verb: asked.verb,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: asked.body.clone(),
        field_manager: manager.map(ToOwned::to_owned),
        status: 0,
    };
    let mut calls = locked(&server.0.calls);
    calls.push(call);
    let number = calls.len() - 1;
    drop(calls);
    server.0.signals.called.send_modify(|count| *count += 1);
    number
}

fn note_status(server: &ApiServer, number: usize, status: u16) {
    // The test may have cleared the log since.
    if let Some(call) = locked(&server.0.calls).get_mut(number) {
        call.status = status;
    }
    server.0.signals.called.send_modify(|count| *count += 1);
}

fn refusal(problem: &Problem) -> Response<Body> {
    let mut response = whole(problem.code, &problem.to_status());
    if problem.code == 429 {
        response.headers_mut().insert(RETRY_AFTER, 1.into());
    }
    response
}

fn whole(status: u16, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string()))
        .map_err(|never| match never {})
        .boxed_unsync();
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .body(body)
        .unwrap()
}
