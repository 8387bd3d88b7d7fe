//! One connection, as far as others have to know of it: whether it is busy, and what it holds.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::timeout,
};

use super::Peers;

/// The requests of one address that are looked at, or wait for a lease, at the same time. Its others
/// wait, with their bodies read; those of other addresses do not wait for them.
pub(super) const REQUESTS_IN_FLIGHT: usize = 32;
/// The same for TLS handshakes, each of which costs as much as several requests.
const HANDSHAKES: usize = 16;

/// What connections hold memory for.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) enum Memory {
    /// Request bodies, until they are answered.
    Bodies,
    /// Answers, until they are written.
    Answers,
}

impl Memory {
    /// How many bytes all connections together may hold.
    pub(super) fn limit(self) -> usize {
        match self {
            // The chart's memory limit is four times that.
            Self::Bodies => 64 << 20,
            Self::Answers => 16 << 20,
        }
    }
}

/// A number of bytes for each kind of [`Memory`].
#[derive(Debug, Default)]
pub(super) struct HeldBytes {
    bodies: AtomicUsize,
    answers: AtomicUsize,
}

impl HeldBytes {
    fn counter(&self, memory: Memory) -> &AtomicUsize {
        match memory {
            Memory::Bodies => &self.bodies,
            Memory::Answers => &self.answers,
        }
    }

    pub(super) fn of(&self, memory: Memory) -> usize {
        self.counter(memory).load(Ordering::Relaxed)
    }

    /// Adds bytes, and returns the sum.
    fn add(&self, memory: Memory, bytes: usize) -> usize {
        let before = self.counter(memory).fetch_add(bytes, Ordering::Relaxed);
        before.saturating_add(bytes)
    }

    fn subtract(&self, memory: Memory, bytes: usize) {
        self.counter(memory).fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What all connections of one address share.
#[derive(Debug)]
pub(super) struct PeerLimits {
    requests: Semaphore,
    handshakes: Semaphore,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            requests: Semaphore::new(REQUESTS_IN_FLIGHT),
            handshakes: Semaphore::new(HANDSHAKES),
        }
    }
}

/// An open connection. Its requests carry it in their extensions.
pub(in crate::server) struct Connection {
    pub(super) peer: IpAddr,
    peers: Arc<Peers>,
    limits: Arc<PeerLimits>,
    has_asked: AtomicBool,
    /// How many of its requests are being answered.
    requests: AtomicUsize,
    /// When a request last began or ended, by the clock of [`Peers`].
    last_used: AtomicU64,
    held: HeldBytes,
    closed: Notify,
}

impl Connection {
    pub(super) fn new(peer: IpAddr, peers: Arc<Peers>, limits: Arc<PeerLimits>) -> Self {
        Self {
            peer,
            limits,
            has_asked: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            last_used: AtomicU64::new(peers.tick()),
            held: HeldBytes::default(),
            closed: Notify::new(),
            peers,
        }
    }

    /// Returns the address of the client.
    pub(in crate::server) fn peer(&self) -> IpAddr {
        self.peer
    }

    pub(super) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Waits until one more TLS handshake of this address may begin.
    pub(super) async fn handshake(&self) -> Option<SemaphorePermit<'_>> {
        self.limits.handshakes.acquire().await.ok()
    }

    /// Waits until one more request of this address may be answered.
    pub(in crate::server) async fn request_in_flight(&self) -> Option<SemaphorePermit<'_>> {
        self.limits.requests.acquire().await.ok()
    }

    /// Marks the connection as busy until the guard is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> Busy {
        self.has_asked.store(true, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Busy(Arc::clone(self))
    }

    fn touch(&self) {
        self.last_used.store(self.peers.tick(), Ordering::Relaxed);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    /// Returns how many bytes it holds.
    pub(super) fn held(&self, memory: Memory) -> usize {
        self.held.of(memory)
    }

    /// Counts bytes that are held for the connection, until the guard is dropped.
    pub(in crate::server) fn hold(self: &Arc<Self>, memory: Memory, bytes: usize) -> Held {
        let mut held = Held {
            connection: Arc::clone(self),
            memory,
            bytes: 0,
        };
        held.grow(bytes);
        held
    }

    /// Ends [`Self::must_close`].
    pub(super) fn close(&self) {
        self.closed.notify_one();
    }

    /// Waits until the connection has to go: others need the room, or no request came in time.
    pub(super) async fn must_close(&self, first_request: Duration) {
        let closed = timeout(first_request, self.closed.notified()).await;
        if closed.is_err() && self.has_asked.load(Ordering::Relaxed) {
            self.closed.notified().await;
        }
    }
}

/// A request that is being answered.
pub(super) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes that are held for a connection.
pub(in crate::server) struct Held {
    connection: Arc<Connection>,
    memory: Memory,
    bytes: usize,
}

impl Held {
    /// Adds bytes. Where all connections then hold too much, the largest holder is closed.
    pub(in crate::server) fn grow(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        let Connection { peers, held, .. } = &*self.connection;
        held.add(self.memory, bytes);
        if peers.held.add(self.memory, bytes) > self.memory.limit() {
            peers.reclaim(self.memory);
        }
    }

    /// Splits a part off, which is then held for as long as that part lives.
    pub(super) fn split_off(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            connection: Arc::clone(&self.connection),
            memory: self.memory,
            bytes,
        }
    }

    /// Gives all of it back.
    pub(in crate::server) fn release(&mut self) {
        let Connection { peers, held, .. } = &*self.connection;
        held.subtract(self.memory, self.bytes);
        peers.held.subtract(self.memory, self.bytes);
        self.bytes = 0;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}
