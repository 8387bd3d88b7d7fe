//! Turns. The runtime runs what is ready in the order in which it became ready: of somebody who has a
//! thousand things ready all would come before the next request of another.
//!
//! Whatever a peer has the server do begins with bytes that are read from it. So of each peer's
//! connections one at a time reads; the next one does when everything that was ready then has been
//! run. However much a peer sends over however many connections, others wait for one turn of it.

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    task::{self, Context, Poll},
};

use tower_service::Service;

use super::table::Seat;

/// The turns of one peer.
#[derive(Default)]
pub(super) struct Turns(Mutex<State>);

#[derive(Default)]
struct State {
    current: Option<Arc<Seat>>,
    waiting: VecDeque<Arc<Seat>>,
}

impl Turns {
    /// Whether it is the turn of this seat; otherwise the seat is woken when it is. A turn that is not
    /// used passes all the same, so nobody can keep the others of an address waiting.
    pub(super) fn is_of(self: &Arc<Self>, seat: &Arc<Seat>) -> bool {
        let mut state = self.lock();
        if let Some(current) = &state.current {
            let has_turn = Arc::ptr_eq(current, seat);
            if !has_turn && !seat.waits.swap(true, Ordering::Relaxed) {
                state.waiting.push_back(Arc::clone(seat));
            }
            return has_turn;
        }
        state.current = Some(Arc::clone(seat));
        tokio::spawn(Arc::clone(self).pass_on());
        true
    }

    /// Ends the current turn and gives the next, until nobody waits for one.
    async fn pass_on(self: Arc<Self>) {
        loop {
            everything_else_that_is_ready().await;
            let mut state = self.lock();
            state.current = state.waiting.pop_front();
            let Some(next) = state.current.clone() else {
                return;
            };
            next.waits.store(false, Ordering::Relaxed);
            drop(state);
            next.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes to the end of the runtime's queue.
async fn everything_else_that_is_ready() {
    let mut has_waited = false;
    poll_fn(|context| last_of_the_queue(&mut has_waited, context)).await;
}

/// Ready when everything has been run that was ready at the first call.
fn last_of_the_queue(has_waited: &mut bool, context: &Context<'_>) -> Poll<()> {
    if mem::replace(has_waited, true) {
        return Poll::Ready(());
    }
    context.waker().wake_by_ref();
    Poll::Pending
}

/// Makes services for connections, one by one: before the next is accepted everything that is ready
/// goes on. Those that wait wait with the kernel, where they cost nothing yet.
pub(in crate::server) struct OneByOne<M> {
    inner: M,
    has_waited: bool,
}

impl<M> OneByOne<M> {
    pub(in crate::server) fn new(inner: M) -> Self {
        Self {
            inner,
            has_waited: false,
        }
    }
}

impl<T, M: Service<T>> Service<T> for OneByOne<M> {
    type Response = M::Response;
    type Error = M::Error;
    type Future = M::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        task::ready!(last_of_the_queue(&mut self.has_waited, context));
        self.inner.poll_ready(context)
    }

    fn call(&mut self, target: T) -> Self::Future {
        self.has_waited = false;
        self.inner.call(target)
    }
}
