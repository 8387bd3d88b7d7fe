//! Who is connected, and what they may take: connections, memory for bodies and answers, and turns. The HTTP
//! server itself limits none of them.

mod answers;
mod table;
mod turns;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{self, Context, Poll},
};

use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{Request, request::Parts},
    response::Response,
};
use axum_server::accept::Accept;
use futures_util::future::BoxFuture;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tower_service::Service;

use crate::metrics::{Metrics, Port, Problem};
use answers::Counted;
use table::Table;
pub(super) use table::{Held, Seat};
pub(super) use turns::OneByOne;

/// Lets a bounded number of connections in, before their TLS handshake. When it is full, the peer
/// with the most connections loses the one that was idle the longest. So whoever opens thousands
/// takes them from himself, and the API server still gets in.
#[derive(Clone)]
pub(super) struct Gate {
    table: Arc<Mutex<Table>>,
    open: Gauge,
    closed: Counter,
}

impl Gate {
    pub(super) fn new(connections: usize, metrics: &Metrics, port: Port) -> Self {
        Self {
            table: Arc::new(Mutex::new(Table::new(connections))),
            open: metrics.server.open_connections(port),
            closed: metrics.server.problem_counter(Problem::ConnectionLimit),
        }
    }

    fn admit(&self, stream: TcpStream) -> io::Result<Connection> {
        let peer = stream.peer_addr()?.ip().to_canonical();
        // Answers are small, and somebody waits for each.
        stream.set_nodelay(true)?;
        let seat = self.seat(peer).ok_or_else(|| {
            self.closed.inc();
            io::Error::other("too many connections, and all of them busy")
        })?;
        self.open.inc();
        Ok(Connection {
            stream,
            seat,
            gate: self.clone(),
        })
    }

    /// A seat for a connection of the peer; `None` when all are taken and busy.
    fn seat(&self, peer: IpAddr) -> Option<Arc<Seat>> {
        let mut table = self.lock();
        if table.is_full() {
            let idle = table.longest_idle()?;
            table.remove(&idle);
            idle.close();
            self.closed.inc();
        }
        Some(table.add(peer))
    }

    /// The answer, counted until it is taken. Where too much is left lying, the connection that leaves
    /// the most is closed.
    fn count(&self, answer: Response, seat: &Arc<Seat>) -> Response {
        let answer = answer.map(|body| Body::new(Counted::new(body, seat)));
        let table = self.lock();
        if let Some(greedy) = table.leaves_most(seat)
            && !greedy.is_closed()
        {
            greedy.close();
            self.closed.inc();
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Accept<TcpStream, S> for Gate {
    type Stream = Connection;
    type Service = Seated<S>;
    type Future = Ready<io::Result<(Connection, Seated<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(self.admit(stream).map(|connection| {
            let seat = Arc::clone(&connection.seat);
            let gate = self.clone();
            (
                connection,
                Seated {
                    service,
                    seat,
                    gate,
                },
            )
        }))
    }
}

/// A service whose requests know their connection's seat, and whose answers are counted.
#[derive(Clone)]
pub(super) struct Seated<S> {
    service: S,
    seat: Arc<Seat>,
    gate: Gate,
}

impl<S, B> Service<Request<B>> for Seated<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (seat, gate) = (Arc::clone(&self.seat), self.gate.clone());
        seat.touch();
        request.extensions_mut().insert(Arc::clone(&seat));
        let answer = self.service.call(request);
        Box::pin(async move { Ok(gate.count(answer.await?, &seat)) })
    }
}

/// The turn of a request that has no body to wait for: what takes it as an argument is answered in turn.
pub(super) struct InTurn;

impl<S: Sync> FromRequestParts<S> for InTurn {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        if let Some(seat) = parts.extensions.get::<Arc<Seat>>() {
            seat.turn_to_answer().await;
        }
        Ok(Self)
    }
}

/// A connection that has its seat as long as it lives.
pub(super) struct Connection {
    stream: TcpStream,
    seat: Arc<Seat>,
    gate: Gate,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.gate.lock().remove(&self.seat);
        self.gate.open.dec();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.seat.check(context)?;
        task::ready!(self.stream.poll_read_ready(context))?;
        if !self.seat.take_turn_or_queue() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.seat.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.seat.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::{
        table::{KIB, PEER_BODIES_KIB},
        *,
    };

    fn gate(limit: usize) -> Gate {
        Gate::new(limit, &Metrics::new(), Port::Webhook)
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn whoever_has_the_most_connections_makes_room() {
        let gate = gate(4);
        let quiet = gate.seat(peer(1)).unwrap();
        let greedy: Vec<_> = (0..3).map(|_| gate.seat(peer(2)).unwrap()).collect();
        let another = gate.seat(peer(3)).unwrap();
        assert!(greedy[0].is_closed() && !greedy[1].is_closed());
        assert!(!quiet.is_closed() && !another.is_closed());
        // Also from himself.
        gate.seat(peer(2)).unwrap();
        assert!(greedy[1].is_closed() && !quiet.is_closed() && !another.is_closed());
    }

    #[test]
    fn of_one_peers_connections_the_longest_idle_goes_and_a_busy_one_never() {
        let gate = gate(3);
        let seats: Vec<_> = (0..3).map(|_| gate.seat(peer(1)).unwrap()).collect();
        drop(seats[0].busy());
        let busy = seats[1].busy();
        gate.seat(peer(1)).unwrap();
        assert!(seats[2].is_closed());
        gate.seat(peer(1)).unwrap();
        assert!(seats[0].is_closed() && !seats[1].is_closed());
        drop(busy);
    }

    #[test]
    fn a_connection_beyond_the_limit_is_refused_when_all_are_busy() {
        let gate = gate(1);
        let first = gate.seat(peer(1)).unwrap();
        let busy = first.busy();
        assert!(gate.seat(peer(2)).is_none());
        drop(busy);
        assert!(gate.seat(peer(2)).is_some());
        assert!(first.is_closed());
    }

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from(vec![0; bytes]))
    }

    #[test]
    fn whoever_leaves_too_many_answers_loses_the_connection_that_has_the_most() {
        let gate = gate(4);
        let (some, most, other) = (
            gate.seat(peer(1)).unwrap(),
            gate.seat(peer(1)).unwrap(),
            gate.seat(peer(2)).unwrap(),
        );
        let _few = gate.count(answer(1 << 20), &some);
        let _others = gate.count(answer(3 << 20), &other);
        let _many = gate.count(answer(5 << 19), &most);
        assert!(!most.is_closed());
        let _one_more = gate.count(answer(1 << 20), &some);
        assert!(most.is_closed() && !some.is_closed() && !other.is_closed());
    }

    #[test]
    fn answers_of_many_peers_are_bounded_together() {
        let gate = gate(8);
        let seats: Vec<_> = (0..6).map(|i| gate.seat(peer(i)).unwrap()).collect();
        let _left: Vec<_> = seats
            .iter()
            .map(|seat| gate.count(answer(3 << 20), seat))
            .collect();
        assert_eq!(seats.iter().filter(|seat| seat.is_closed()).count(), 1);
    }

    #[tokio::test]
    async fn an_answer_counts_until_all_of_it_is_gone() {
        let gate = gate(1);
        let seat = gate.seat(peer(1)).unwrap();
        for _ in 0..10 {
            let taken = gate.count(answer(3 << 20), &seat);
            let bytes = axum::body::to_bytes(taken.into_body(), usize::MAX).await;
            assert_eq!(bytes.unwrap().len(), 3 << 20);
        }
        assert!(!seat.is_closed());
        let frame = gate.count(answer(3 << 20), &seat).into_body().frame().await;
        let _other = gate.count(answer(3 << 20), &seat);
        assert!(seat.is_closed());
        drop(frame);
    }

    #[test]
    fn nobody_is_remembered_who_is_gone() {
        let gate = gate(2);
        let seat = gate.seat(peer(1)).unwrap();
        gate.lock().remove(&seat);
        gate.lock().remove(&seat);
        assert!(gate.lock().is_empty());
    }

    #[tokio::test]
    async fn one_peers_bodies_leave_room_for_anothers() {
        let gate = gate(4);
        let (greedy, other) = (gate.seat(peer(1)).unwrap(), gate.seat(peer(2)).unwrap());
        let held = greedy.hold(PEER_BODIES_KIB * KIB).await;
        assert!(greedy.hold(1).now_or_never().is_none());
        assert!(other.hold(PEER_BODIES_KIB * KIB).await.is_some());
        drop(held);
        assert!(greedy.hold(1).await.is_some());
    }
}
