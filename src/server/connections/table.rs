//! The seats: who has how many, what goes with them, and which was idle the longest.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Context,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::turns::{Ticket, Turns};

/// How much of bodies is held in memory at once, in KiB. The chart's limit is four times that.
const ALL_BODIES_KIB: usize = 64 << 10;
/// How much of it one peer may take: two of the largest, or hundreds of what reviews are.
pub(super) const PEER_BODIES_KIB: usize = ALL_BODIES_KIB / 8;
/// How much one peer, and all together, may leave of answers that they asked for, in bytes.
const PEER_UNTAKEN: usize = 4 << 20;
const ALL_UNTAKEN: usize = 16 << 20;
pub(super) const KIB: usize = 1 << 10;

/// The connections that are let in.
pub(super) struct Table {
    peers: HashMap<IpAddr, Peer>,
    taken: usize,
    limit: usize,
    bodies: Arc<Semaphore>,
    untaken: Arc<AtomicUsize>,
    clock: Clock,
}

/// All connections of one address. Over IPv6 too: a whole network of a host's own is rare in clusters,
/// where the API server may have its address in that of the pods.
struct Peer {
    /// By when each was last used, as far as that was looked at: since then it may have been again.
    seats: BTreeMap<u64, Arc<Seat>>,
    bodies: Arc<Semaphore>,
    untaken: Arc<AtomicUsize>,
    turns: Arc<Turns>,
}

/// Counts moments at which a request began or ended; no two are the same.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Table {
    pub fn new(limit: usize) -> Self {
        Self {
            peers: HashMap::new(),
            taken: 0,
            limit,
            bodies: Arc::new(Semaphore::new(ALL_BODIES_KIB)),
            untaken: Arc::default(),
            clock: Clock::default(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.taken >= self.limit
    }

    /// Nobody is remembered who is gone.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.taken == 0 && self.peers.is_empty()
    }

    /// A seat for one more connection.
    pub fn add(&mut self, address: IpAddr) -> Arc<Seat> {
        let peer = self.peers.entry(address).or_insert_with(|| Peer {
            seats: BTreeMap::new(),
            bodies: Arc::new(Semaphore::new(PEER_BODIES_KIB)),
            untaken: Arc::default(),
            turns: Arc::default(),
        });
        let now = self.clock.tick();
        let seat = Arc::new(Seat {
            address,
            place: AtomicU64::new(now),
            busy: AtomicUsize::new(0),
            used: AtomicU64::new(now),
            clock: self.clock.clone(),
            closed: AtomicBool::new(false),
            ticket: Arc::default(),
            turns: Arc::clone(&peer.turns),
            bodies_of_peer: Arc::clone(&peer.bodies),
            bodies: Arc::clone(&self.bodies),
            untaken: AtomicUsize::new(0),
            untaken_of_peer: Arc::clone(&peer.untaken),
            untaken_of_all: Arc::clone(&self.untaken),
        });
        peer.seats.insert(now, Arc::clone(&seat));
        self.taken += 1;
        seat
    }

    /// Of the peers that have an idle connection the one with the most connections, and of these
    /// the one that was idle the longest.
    pub fn longest_idle(&mut self) -> Option<Arc<Seat>> {
        let mut found: Option<Arc<Seat>> = None;
        let mut most = 0;
        for peer in self.peers.values_mut() {
            let seats = peer.seats.len();
            if seats < most {
                continue;
            }
            let Some(seat) = peer.longest_idle(&self.clock) else {
                continue;
            };
            let is_older = |found: &Arc<Seat>| seat.place() < found.place();
            if seats > most || found.as_ref().is_none_or(is_older) {
                most = seats;
                found = Some(seat);
            }
        }
        found
    }

    /// The connection that leaves the most of its answers, where its peer, or all peers together, leave
    /// more than they may.
    pub fn leaves_most(&self, seat: &Seat) -> Option<&Arc<Seat>> {
        let most = |seat: &&Arc<Seat>| seat.untaken.load(Ordering::Relaxed);
        if seat.untaken_of_peer.load(Ordering::Relaxed) > PEER_UNTAKEN {
            let peer = self.peers.get(&seat.address)?;
            peer.seats.values().max_by_key(most)
        } else if seat.untaken_of_all.load(Ordering::Relaxed) > ALL_UNTAKEN {
            let seats = self.peers.values().flat_map(|peer| peer.seats.values());
            seats.max_by_key(most)
        } else {
            None
        }
    }

    /// Gives the seat up; once more changes nothing.
    pub fn remove(&mut self, seat: &Seat) {
        let Some(peer) = self.peers.get_mut(&seat.address) else {
            return;
        };
        if peer.seats.remove(&seat.place()).is_none() {
            return;
        }
        self.taken -= 1;
        if peer.seats.is_empty() {
            self.peers.remove(&seat.address);
        }
    }
}

impl Peer {
    /// The idle connection that was last used the longest ago. Those that turn out to have been used
    /// since they were last looked at go to their new place on the way, so that not all of them have
    /// to be looked at for each new connection.
    fn longest_idle(&mut self, clock: &Clock) -> Option<Arc<Seat>> {
        for _ in 0..=self.seats.len() {
            let first = self.seats.first_entry()?;
            let used = if first.get().is_busy() {
                clock.tick()
            } else {
                first.get().used.load(Ordering::Relaxed)
            };
            if used == *first.key() {
                return Some(Arc::clone(first.get()));
            }
            let seat = first.remove();
            seat.place.store(used, Ordering::Relaxed);
            self.seats.insert(used, seat);
        }
        None
    }
}

/// The place of a connection. Its requests carry it in their extensions.
pub(in crate::server) struct Seat {
    address: IpAddr,
    /// Where its peer has it; changes under the table's lock.
    place: AtomicU64,
    /// How many of its requests are being answered.
    busy: AtomicUsize,
    /// When a request last began or ended.
    used: AtomicU64,
    clock: Clock,
    closed: AtomicBool,
    ticket: Arc<Ticket>,
    turns: Arc<Turns>,
    bodies_of_peer: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    /// Answers that were made for it and not taken, in bytes.
    untaken: AtomicUsize,
    untaken_of_peer: Arc<AtomicUsize>,
    untaken_of_all: Arc<AtomicUsize>,
}

impl Seat {
    /// Marks the connection as busy, as long as the guard lives.
    pub(in crate::server) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Busy(Arc::clone(self))
    }

    /// Waits until there is room for a body of so many bytes.
    pub(in crate::server) async fn hold(&self, bytes: usize) -> Option<Held> {
        let kib = u32::try_from(bytes.div_ceil(KIB)).ok()?;
        let of_peer = Arc::clone(&self.bodies_of_peer);
        let all = Arc::clone(&self.bodies);
        Some(Held {
            _of_peer: of_peer.acquire_many_owned(kib).await.ok()?,
            _all: all.acquire_many_owned(kib).await.ok()?,
        })
    }

    /// Whether it may read now; otherwise its connection queues, and is woken when it may.
    pub(super) fn take_turn_or_queue(&self) -> bool {
        self.turns.take_or_queue(&self.ticket)
    }

    /// Waits until one of its requests may be answered.
    pub(in crate::server) async fn turn_to_answer(&self) {
        self.turns.to_answer(&self.ticket).await;
    }

    /// Counts an answer of so many bytes, until it is taken.
    pub(super) fn leave(self: &Arc<Self>, bytes: usize) -> Untaken {
        for count in self.untaken_counts() {
            count.fetch_add(bytes, Ordering::Relaxed);
        }
        Untaken {
            seat: Arc::clone(self),
            bytes,
        }
    }

    fn untaken_counts(&self) -> [&AtomicUsize; 3] {
        [&self.untaken, &self.untaken_of_peer, &self.untaken_of_all]
    }

    fn place(&self) -> u64 {
        self.place.load(Ordering::Relaxed)
    }

    /// A request begins.
    pub(super) fn touch(&self) {
        self.used.store(self.clock.tick(), Ordering::Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.ticket.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the connection goes on; if so, whoever waits on it is woken when it no longer does.
    pub(super) fn check(&self, context: &Context<'_>) -> io::Result<()> {
        self.ticket.register(context);
        if self.is_closed() {
            return Err(io::Error::other("closed to make room for another"));
        }
        Ok(())
    }
}

/// A request that is being answered.
pub(in crate::server) struct Busy(Arc<Seat>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room for a body.
pub(in crate::server) struct Held {
    _of_peer: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// An answer that its client has not taken yet.
pub(super) struct Untaken {
    seat: Arc<Seat>,
    bytes: usize,
}

impl Drop for Untaken {
    fn drop(&mut self) {
        for count in self.seat.untaken_counts() {
            count.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}
