//! Who is connected, and what they may take: connections, and memory for bodies. The HTTP server
//! itself limits neither.

use std::{
    collections::HashMap,
    future::{Ready, ready},
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::http::Request;
use axum_server::accept::Accept;
use futures_util::task::AtomicWaker;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower_service::Service;

use crate::metrics::{Metrics, Port, Problem};

/// How much of bodies is held in memory at once, in KiB. The chart's limit is four times that.
const ALL_BODIES_KIB: usize = 64 << 10;
/// How much of it one peer may take.
const PEER_BODIES_KIB: usize = ALL_BODIES_KIB / 2;
const KIB: usize = 1 << 10;

/// Lets a bounded number of connections in, before their TLS handshake. When it is full, the peer
/// with the most connections loses the one that was idle the longest. So whoever opens thousands
/// takes them from himself, and the API server still gets in.
#[derive(Clone)]
pub(super) struct Gate {
    table: Arc<Mutex<Table>>,
    limit: usize,
    bodies: Arc<Semaphore>,
    clock: Arc<AtomicU64>,
    open: Gauge,
    closed: Counter,
}

/// The connections that are let in.
#[derive(Default)]
struct Table {
    seats: HashMap<u64, Arc<Seat>>,
    peers: HashMap<IpAddr, Peer>,
}

/// All connections of one address.
struct Peer {
    seats: usize,
    bodies: Arc<Semaphore>,
}

impl Gate {
    pub(super) fn new(connections: usize, metrics: &Metrics, port: Port) -> Self {
        Self {
            table: Arc::default(),
            limit: connections,
            bodies: Arc::new(Semaphore::new(ALL_BODIES_KIB)),
            clock: Arc::default(),
            open: metrics.connections(port),
            closed: metrics.problems(Problem::ConnectionLimit),
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
        if table.seats.len() >= self.limit {
            let idle = table.longest_idle()?;
            table.remove(&idle);
            idle.close();
            self.closed.inc();
        }
        let id = self.clock.fetch_add(1, Ordering::Relaxed);
        let of_peer = table.peers.entry(peer).or_insert_with(|| Peer {
            seats: 0,
            bodies: Arc::new(Semaphore::new(PEER_BODIES_KIB)),
        });
        of_peer.seats += 1;
        let seat = Arc::new(Seat {
            id,
            peer,
            busy: AtomicUsize::new(0),
            used: AtomicU64::new(id),
            clock: Arc::clone(&self.clock),
            closed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            bodies_of_peer: Arc::clone(&of_peer.bodies),
            bodies: Arc::clone(&self.bodies),
        });
        table.seats.insert(id, Arc::clone(&seat));
        Some(seat)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Of the peers that have an idle connection the one with the most connections, and of these
    /// the one that was idle the longest.
    fn longest_idle(&self) -> Option<Arc<Seat>> {
        let seats_of = |seat: &Seat| self.peers.get(&seat.peer).map_or(0, |peer| peer.seats);
        let idle = self.seats.values().filter(|seat| !seat.is_busy());
        let rank = |seat: &&Arc<Seat>| {
            let used = seat.used.load(Ordering::Relaxed);
            (seats_of(seat), u64::MAX - used)
        };
        idle.max_by_key(rank).cloned()
    }

    fn remove(&mut self, seat: &Seat) {
        if self.seats.remove(&seat.id).is_none() {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&seat.peer) {
            peer.seats -= 1;
            if peer.seats == 0 {
                self.peers.remove(&seat.peer);
            }
        }
    }
}

/// The place of a connection. Its requests carry it in their extensions.
pub(super) struct Seat {
    id: u64,
    peer: IpAddr,
    /// How many of its requests are being answered.
    busy: AtomicUsize,
    /// When a request last began or ended, on a clock that counts such moments.
    used: AtomicU64,
    clock: Arc<AtomicU64>,
    closed: AtomicBool,
    waker: AtomicWaker,
    bodies_of_peer: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

impl Seat {
    /// Marks the connection as busy, as long as the guard lives.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Busy(Arc::clone(self))
    }

    /// Waits until there is room for a body of so many bytes.
    pub(super) async fn hold(&self, bytes: usize) -> Option<Held> {
        let kib = u32::try_from(bytes.div_ceil(KIB)).ok()?;
        let of_peer = Arc::clone(&self.bodies_of_peer);
        let all = Arc::clone(&self.bodies);
        Some(Held {
            _of_peer: of_peer.acquire_many_owned(kib).await.ok()?,
            _all: all.acquire_many_owned(kib).await.ok()?,
        })
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    fn touch(&self) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        self.used.store(now, Ordering::Relaxed);
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the connection goes on; if so, whoever waits on it is woken when it no longer does.
    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        self.waker.register(context.waker());
        if self.closed.load(Ordering::Acquire) {
            return Err(io::Error::other("closed to make room for another"));
        }
        Ok(())
    }
}

/// A request that is being answered.
pub(super) struct Busy(Arc<Seat>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room for a body.
pub(super) struct Held {
    _of_peer: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl<S> Accept<TcpStream, S> for Gate {
    type Stream = Connection;
    type Service = Seated<S>;
    type Future = Ready<io::Result<(Connection, Seated<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(self.admit(stream).map(|connection| {
            let seat = Arc::clone(&connection.seat);
            (connection, Seated { service, seat })
        }))
    }
}

/// A service whose requests know their connection's seat.
#[derive(Clone)]
pub(super) struct Seated<S> {
    service: S,
    seat: Arc<Seat>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Seated<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.seat.touch();
        request.extensions_mut().insert(Arc::clone(&self.seat));
        self.service.call(request)
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

    use super::*;

    fn gate(limit: usize) -> Gate {
        Gate::new(limit, &Metrics::new(), Port::Webhook)
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn is_closed(seat: &Seat) -> bool {
        seat.closed.load(Ordering::Acquire)
    }

    #[test]
    fn whoever_has_the_most_connections_makes_room() {
        let gate = gate(4);
        let quiet = gate.seat(peer(1)).unwrap();
        let greedy: Vec<_> = (0..3).map(|_| gate.seat(peer(2)).unwrap()).collect();
        let another = gate.seat(peer(3)).unwrap();
        assert!(is_closed(&greedy[0]) && !is_closed(&greedy[1]));
        assert!(!is_closed(&quiet) && !is_closed(&another));
        // Also from himself.
        gate.seat(peer(2)).unwrap();
        assert!(is_closed(&greedy[1]) && !is_closed(&quiet) && !is_closed(&another));
    }

    #[test]
    fn of_one_peers_connections_the_longest_idle_goes_and_a_busy_one_never() {
        let gate = gate(3);
        let seats: Vec<_> = (0..3).map(|_| gate.seat(peer(1)).unwrap()).collect();
        drop(seats[0].busy());
        let busy = seats[1].busy();
        gate.seat(peer(1)).unwrap();
        assert!(is_closed(&seats[2]));
        gate.seat(peer(1)).unwrap();
        assert!(is_closed(&seats[0]) && !is_closed(&seats[1]));
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
        assert!(is_closed(&first));
    }

    #[test]
    fn nobody_is_remembered_who_is_gone() {
        let gate = gate(2);
        let seat = gate.seat(peer(1)).unwrap();
        gate.lock().remove(&seat);
        gate.lock().remove(&seat);
        let table = gate.lock();
        assert!(table.seats.is_empty() && table.peers.is_empty());
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
