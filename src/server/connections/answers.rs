//! Answers, until their clients have taken them. Over HTTP/2 a client may ask over a hundred streams
//! and take none of the answers: they would lie there as long as the connection lives.

use std::{
    pin::Pin,
    sync::Arc,
    task::{self, Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};

use super::table::{Seat, Untaken};

/// What an answer holds beside its own bytes, about: a stream, and the task that waits to write it.
const STREAM: usize = 4 << 10;

/// An answer's body, which counts as long as it, or anything of it, is there.
pub(super) struct Counted {
    body: Body,
    untaken: Arc<Untaken>,
}

impl Counted {
    pub(super) fn new(body: Body, seat: &Arc<Seat>) -> Self {
        let bytes = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        Self {
            body,
            untaken: Arc::new(seat.leave(STREAM.saturating_add(bytes))),
        }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let counted = |bytes| {
            Bytes::from_owner(Part {
                bytes,
                _untaken: Arc::clone(&self.untaken),
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

/// Part of an answer: it is dropped when it has been written.
struct Part {
    bytes: Bytes,
    _untaken: Arc<Untaken>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
