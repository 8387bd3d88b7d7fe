//! Answers, counted until they are written. An HTTP/2 client can ask over a hundred streams and
//! read none of the answers: they are kept for as long as the connection lives.

use std::{
    pin::Pin,
    sync::Arc,
    task::{self, Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};

use super::{Connection, Held, Memory};

/// What an answer takes beside its own bytes, about: a stream, and the task that waits to write it.
const STREAM: usize = 4 << 10;

/// The body of an answer that its client has not read yet.
pub(super) struct Unread {
    body: Body,
    held: Held,
}

impl Unread {
    pub(super) fn new(body: Body, connection: &Arc<Connection>) -> Self {
        let bytes = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        Self {
            body,
            held: connection.hold(Memory::Answers, STREAM.saturating_add(bytes)),
        }
    }
}

impl HttpBody for Unread {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = task::ready!(Pin::new(&mut self.body).poll_frame(context));
        // The HTTP library may keep the bytes long after it dropped the body.
        let counted = |bytes: Bytes| {
            Bytes::from_owner(Part {
                _held: self.held.split_off(bytes.len()),
                bytes,
            })
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(counted))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Part of an answer, dropped when it has been written.
struct Part {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
