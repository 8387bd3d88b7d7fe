//! Turns. The runtime runs what is ready in the order in which it became ready: of somebody who has a
//! thousand things ready all would come before the next request of another.
//!
//! Whatever a peer has the server do begins with bytes that are read from it, and what costs most is the
//! answer to a request. So of all that a peer wants one thing is begun at a time: one of its connections
//! reads, or one of its requests is answered. The next comes when everything of others that is ready has
//! been run, and the sockets have been asked for more. However much a peer sends over however many
//! connections, others wait for one turn of it.

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture, task::AtomicWaker};
use tokio::task::yield_now;
use tower_service::Service;

/// A connection reads no longer in one turn. It is the work of a review or two, and much more than it
/// costs to give the next turn; small frames can ask for any amount of work.
const TURN: Duration = Duration::from_micros(300);

/// What takes turns: a connection that reads, or a request that is to be answered.
#[derive(Default)]
pub(super) struct Ticket {
    waker: AtomicWaker,
    /// Whether it waits for its turn; changes under the lock of the turns.
    waits: AtomicBool,
}

impl Ticket {
    /// Has the task woken when it is the ticket's turn.
    pub(super) fn register(&self, context: &Context<'_>) {
        self.waker.register(context.waker());
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }
}

/// The turns of one peer.
#[derive(Default)]
pub(super) struct Turns(Mutex<State>);

#[derive(Default)]
struct State {
    current: Option<Turn>,
    waiting: VecDeque<Arc<Ticket>>,
}

impl State {
    /// The first that still waits: of a request that was given up, or a connection that is closed, only
    /// its ticket is left.
    fn next(&mut self) -> Option<Arc<Ticket>> {
        while let Some(ticket) = self.waiting.pop_front() {
            if Arc::strong_count(&ticket) > 1 {
                return Some(ticket);
            }
        }
        None
    }
}

struct Turn {
    of: Arc<Ticket>,
    /// When the ticket was first seen in it: its time counts from then, for its task may be late.
    begun: Option<Instant>,
    /// Whether a request of the connection was answered in it.
    answered: bool,
}

impl Turn {
    fn goes_on(&mut self) -> bool {
        self.begun.get_or_insert_with(Instant::now).elapsed() < TURN
    }
}

impl Turns {
    /// Takes the turn where it is free or the ticket's already; otherwise the ticket queues, and is woken
    /// when its turn comes. A turn that is not used passes all the same, so nobody can keep the others of
    /// an address waiting.
    pub(super) fn take_or_queue(self: &Arc<Self>, ticket: &Arc<Ticket>) -> bool {
        let mut state = self.lock();
        let Some(turn) = &mut state.current else {
            state.current = Some(Turn {
                of: Arc::clone(ticket),
                begun: Some(Instant::now()),
                answered: false,
            });
            tokio::spawn(Arc::clone(self).pass_on());
            return true;
        };
        if Arc::ptr_eq(&turn.of, ticket) && turn.goes_on() {
            return true;
        }
        if !ticket.waits.swap(true, Ordering::Relaxed) {
            state.waiting.push_back(Arc::clone(ticket));
        }
        false
    }

    /// Waits for a turn to answer a request of the connection. The turn in which the connection read it
    /// will do, for one.
    pub(super) async fn to_answer(self: &Arc<Self>, connection: &Arc<Ticket>) {
        if let Some(turn) = &mut self.lock().current
            && Arc::ptr_eq(&turn.of, connection)
            && !mem::replace(&mut turn.answered, true)
        {
            return;
        }
        let request = Arc::default();
        self.wait(&request).await;
    }

    async fn wait(self: &Arc<Self>, ticket: &Arc<Ticket>) {
        poll_fn(|context| {
            ticket.register(context);
            if self.take_or_queue(ticket) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Ends the current turn and gives the next, until nobody waits for one.
    async fn pass_on(self: Arc<Self>) {
        loop {
            // The runtime goes on with this when nothing else is ready, or when it has run some dozens of
            // tasks, and both times only after a look at the sockets.
            yield_now().await;
            let mut state = self.lock();
            let Some(next) = state.next() else {
                state.current = None;
                return;
            };
            next.waits.store(false, Ordering::Relaxed);
            state.current = Some(Turn {
                of: Arc::clone(&next),
                begun: None,
                answered: false,
            });
            drop(state);
            next.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes services for connections, one by one: before the next is served everything that is ready
/// goes on. Those that wait wait with the kernel, where they cost nothing yet.
pub(in crate::server) struct OneByOne<M> {
    inner: M,
    pause: Option<BoxFuture<'static, ()>>,
}

impl<M> OneByOne<M> {
    pub(in crate::server) fn new(inner: M) -> Self {
        Self { inner, pause: None }
    }
}

impl<T, M: Service<T>> Service<T> for OneByOne<M> {
    type Response = M::Response;
    type Error = M::Error;
    type Future = M::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if let Some(pause) = &mut self.pause {
            task::ready!(pause.poll_unpin(context));
            self.pause = None;
        }
        self.inner.poll_ready(context)
    }

    fn call(&mut self, target: T) -> Self::Future {
        self.pause = Some(yield_now().boxed());
        self.inner.call(target)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;

    use super::*;

    /// Tickets of one peer, the first of which has the turn.
    async fn tickets(turns: &Arc<Turns>) -> [Arc<Ticket>; 3] {
        let tickets: [Arc<Ticket>; 3] = Default::default();
        turns.wait(&tickets[0]).await;
        tickets
    }

    #[tokio::test]
    async fn of_what_one_peer_wants_one_thing_is_done_and_the_next_when_all_that_is_ready_has_run()
    {
        let turns = Arc::<Turns>::default();
        let [_first, second, third] = tickets(&turns).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |what| {
            let order = Arc::clone(&order);
            move || order.lock().unwrap().push(what)
        };
        let (connection, request) = (note("a connection"), note("a request"));
        let waiting = [
            tokio::spawn({
                let turns = Arc::clone(&turns);
                async move {
                    turns.wait(&second).await;
                    connection();
                }
            }),
            tokio::spawn({
                let turns = Arc::clone(&turns);
                async move {
                    turns.to_answer(&third).await;
                    request();
                }
            }),
        ];
        // Goes on for some rounds of the runtime before the others have their turn.
        let (began, ended) = (note("somebody else"), note("somebody else's answer"));
        tokio::spawn(async move {
            began();
            tokio::spawn(async move { ended() });
        });
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(
            *order.lock().unwrap(),
            [
                "somebody else",
                "somebody else's answer",
                "a connection",
                "a request"
            ]
        );
    }

    #[tokio::test]
    async fn another_peer_does_not_wait() {
        let _busy = tickets(&Arc::default()).await;
        let others = Arc::<Turns>::default();
        assert!(others.take_or_queue(&Arc::default()));
    }

    #[tokio::test]
    async fn in_the_turn_in_which_it_was_read_one_request_is_answered() {
        let turns = Arc::<Turns>::default();
        let [first, second, _] = tickets(&turns).await;
        assert!(turns.to_answer(&second).now_or_never().is_none());
        assert!(turns.to_answer(&first).now_or_never().is_some());
        assert!(turns.to_answer(&first).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_turn_that_is_not_used_passes() {
        let turns = Arc::<Turns>::default();
        let [first, gone, third] = tickets(&turns).await;
        assert!(!turns.take_or_queue(&gone));
        turns.wait(&third).await;
        assert!(!turns.take_or_queue(&first));
    }

    #[tokio::test]
    async fn whoever_is_gone_gets_no_turn() {
        let turns = Arc::<Turns>::default();
        let [_first, second, _] = tickets(&turns).await;
        for _ in 0..1000 {
            let given_up = turns.to_answer(&second).now_or_never();
            assert!(given_up.is_none());
        }
        let mut rounds = 0;
        while !turns.take_or_queue(&second) {
            yield_now().await;
            rounds += 1;
        }
        assert!(rounds < 10, "{rounds}");
    }

    #[tokio::test]
    async fn a_turn_ends_after_its_time_which_counts_from_when_it_was_seen() {
        let turns = Arc::<Turns>::default();
        let [first, second, _] = tickets(&turns).await;
        let begun = |begun: Option<Instant>| {
            turns.lock().current.as_mut().unwrap().begun = begun;
        };
        begun(None);
        assert!(turns.take_or_queue(&first));
        begun(Instant::now().checked_sub(TURN));
        assert!(!turns.take_or_queue(&first));
        assert!(!turns.take_or_queue(&second));
        // It waits like everybody else.
        turns.wait(&first).await;
        assert!(!turns.take_or_queue(&second));
    }

    #[tokio::test]
    async fn before_the_next_connection_is_served_what_is_ready_goes_on() {
        let mut make = OneByOne::new(Router::<()>::new().into_make_service());
        let others = Arc::new(AtomicBool::new(false));
        for _ in 0..2 {
            poll_fn(|context| Service::<()>::poll_ready(&mut make, context))
                .await
                .unwrap();
            let _connection = make.call(());
            others.store(false, Ordering::Relaxed);
            let other = Arc::clone(&others);
            tokio::spawn(async move { other.store(true, Ordering::Relaxed) });
            poll_fn(|context| Service::<()>::poll_ready(&mut make, context))
                .await
                .unwrap();
            assert!(others.load(Ordering::Relaxed));
        }
    }
}
