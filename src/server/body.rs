//! Request bodies, read within bounds, and the bodies of answers.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::connections::{Connection, Held, Memory};
use crate::metrics::Problem;

/// The API server takes requests of 3 MiB, and asks about one object at its creation.
const BODY_LIMIT: usize = 4 << 20;
/// How much of a larger body is read and thrown away, so that its sender reads the answer.
const DRAIN_LIMIT: usize = 64 << 20;
/// How long that may take where nothing else limits it.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(4);
/// How much is reserved for a body because its head announces it.
const MAX_RESERVED: usize = 64 << 10;
/// Longer answers to bad requests are cut.
const MAX_SENTENCE_CHARS: usize = 512;

/// Why a request is not answered with what it asks for.
#[derive(Debug)]
pub(super) enum NotTaken {
    TooLarge,
    /// Its body was too late.
    Deadline,
    /// The time was up before it could be answered: its address, or all clients together, ask for
    /// more than they get.
    Crowded,
    Broken,
}

impl NotTaken {
    pub(super) fn problem(&self) -> Problem {
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
                "too many requests came before this one: its time was up",
            ),
            Self::Broken => plain(StatusCode::BAD_REQUEST, "the body broke off before its end"),
        }
    }
}

/// Reads the whole body, which counts as the connection's for as long as the second value lives.
///
/// A body beyond the limit is thrown away as it comes: an answer before its end would reset the
/// connection, and the API server would see that instead of the answer.
pub(super) async fn read(
    connection: &Arc<Connection>,
    body: Body,
    deadline: Instant,
) -> Result<(Vec<u8>, Held), NotTaken> {
    let mut received = Received::new(connection, &body);
    match timeout_at(deadline, received.read_from(body)).await {
        Ok(Err(())) => Err(NotTaken::Broken),
        _ if received.is_too_large() => Err(NotTaken::TooLarge),
        Ok(Ok(())) => Ok((received.bytes, received.held)),
        Err(_) => Err(NotTaken::Deadline),
    }
}

/// What has come of a body.
struct Received {
    bytes: Vec<u8>,
    held: Held,
    announced: usize,
    total: usize,
}

impl Received {
    fn new(connection: &Arc<Connection>, body: &Body) -> Self {
        let announced = body.size_hint().exact().unwrap_or_default();
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        let bytes = Vec::with_capacity(announced.min(MAX_RESERVED));
        Self {
            held: connection.hold(Memory::Bodies, bytes.capacity()),
            bytes,
            announced,
            total: 0,
        }
    }

    /// Reads until the end of the body, or until it is not worth reading on.
    async fn read_from(&mut self, mut body: Body) -> Result<(), ()> {
        while let Some(frame) = body.frame().await {
            // Trailers are none of our business.
            if let Ok(data) = frame.map_err(drop)?.into_data() {
                self.keep(&data);
            }
            if self.total > DRAIN_LIMIT {
                break;
            }
        }
        Ok(())
    }

    fn keep(&mut self, data: &Bytes) {
        self.total = self.total.saturating_add(data.len());
        if self.announced > BODY_LIMIT || self.is_too_large() {
            self.bytes = Vec::new();
            self.held.release();
            return;
        }
        self.make_room(data.len());
        self.bytes.extend_from_slice(data);
    }

    /// Doubles the room for the body where `more` bytes do not fit, but not beyond what its head announces.
    fn make_room(&mut self, more: usize) {
        let (len, before) = (self.bytes.len(), self.bytes.capacity());
        let needed = len.saturating_add(more);
        if needed <= before {
            return;
        }
        let doubled = before.saturating_mul(2);
        let room = match self.announced {
            0 => doubled,
            announced => doubled.min(announced),
        };
        self.bytes.reserve_exact(room.max(needed) - len);
        self.held.grow(self.bytes.capacity() - before);
    }

    fn is_too_large(&self) -> bool {
        self.total > BODY_LIMIT
    }
}

/// Throws a body away as it comes, so that its sender reads the answer.
pub(super) async fn discard(body: Body) {
    let mut left = DRAIN_LIMIT;
    let mut frames = pin!(body.into_data_stream());
    let drained = async {
        while let Some(Ok(data)) = frames.next().await
            && let Some(less) = left.checked_sub(data.len())
        {
            left = less;
        }
    };
    // A client that is slower than that does not read the answer either.
    let _ = timeout(DISCARD_TIMEOUT, drained).await;
}

/// Makes an answer of JSON.
pub(super) fn json(body: Vec<u8>) -> Response {
    let mut response = Response::new(body.into());
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Makes an answer of one sentence.
pub(super) fn plain(status: StatusCode, sentence: &str) -> Response {
    let text: String = sentence
        .chars()
        .take(MAX_SENTENCE_CHARS)
        .chain(['\n'])
        .collect();
    let content_type = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, content_type, text).into_response()
}
