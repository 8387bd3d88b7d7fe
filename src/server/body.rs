//! Bodies: how those of requests are read, in turn and within bounds, and how those of answers are made.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::connections::{Held, Seat};
use crate::metrics::Problem;

/// The API server takes requests of 3 MiB, and asks about one object at its creation.
const BODY_LIMIT: usize = 4 << 20;
/// How much of a larger body is read and thrown away, so that its sender reads the answer.
const DRAIN_LIMIT: usize = 64 << 20;
/// How long that may take where nothing else limits it.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(4);
/// What a body's announced length may reserve before any of it is there.
const MAX_RESERVED: usize = 64 << 10;
/// Longer answers to bad requests are cut.
const MAX_SENTENCE_CHARS: usize = 512;

/// Reads the whole body once there is room for it, and keeps the room; then waits for the request's turn.
pub(super) async fn read_and_wait(
    seat: Option<&Arc<Seat>>,
    body: Body,
    deadline: Instant,
) -> Result<(Vec<u8>, Option<Held>), NotTaken> {
    let Some(seat) = seat else {
        return Ok((read(body, deadline).await?, None));
    };
    let crowded = |_| NotTaken::Crowded;
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

/// Why a request is not answered with what it asks for.
#[derive(Debug)]
pub(super) enum NotTaken {
    TooLarge,
    /// Its body was too late.
    Deadline,
    /// Room for its body, or its turn, came too late: the peer, or all together, ask for more than they
    /// get.
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
                "the time was up before it was the turn of this request",
            ),
            Self::Broken => plain(StatusCode::BAD_REQUEST, "the body broke off before its end"),
        }
    }
}

/// Reads the whole body. One beyond the limit is thrown away as it comes: an answer before its end
/// would reset the connection, and the API server would see that instead of the answer.
pub(super) async fn read(mut body: Body, deadline: Instant) -> Result<Vec<u8>, NotTaken> {
    let announced = announced_length(&body).unwrap_or_default();
    let mut bytes = Vec::with_capacity(announced.min(MAX_RESERVED));
    let mut total = 0_usize;
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) | Ok(None) if total > BODY_LIMIT => return Err(NotTaken::TooLarge),
            Err(_) => return Err(NotTaken::Deadline),
            Ok(Some(Err(_))) => return Err(NotTaken::Broken),
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(bytes),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        total = total.saturating_add(data.len());
        keep(&mut bytes, &data, total.max(announced));
        if total > DRAIN_LIMIT {
            return Err(NotTaken::TooLarge);
        }
    }
}

/// Throws a body away as it comes, for the same reason.
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
