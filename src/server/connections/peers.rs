//! Who is connected, and who has to go when there is too much of something.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::connection::{Connection, HeldBytes, Memory, PeerLimits};
use crate::metrics::{Metrics, Port, Problem};

/// The clients of a port, by address. Over IPv6 too a client is one address: a network of its own
/// for each host is rare in clusters, where the API server may share one with the pods.
pub(in crate::server) struct Peers {
    max_connections: usize,
    table: Mutex<Table>,
    /// What all connections hold, those included that were told to close.
    pub(super) held: HeldBytes,
    clock: AtomicU64,
    open: Gauge,
    closed: Counter,
}

impl Peers {
    pub(in crate::server) fn new(max_connections: usize, metrics: &Metrics, port: Port) -> Self {
        Self {
            max_connections,
            table: Mutex::default(),
            held: HeldBytes::default(),
            clock: AtomicU64::new(0),
            open: metrics.server.open_connections(port),
            closed: metrics.server.problem_counter(Problem::ConnectionLimit),
        }
    }

    /// Lets a connection in. When there are too many, another one is closed for it, or there is
    /// `None` when that would only do harm.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Admitted> {
        let mut table = self.lock();
        if table.connections >= self.max_connections {
            let Some(expendable) = table.expendable_for(peer) else {
                self.closed.inc();
                return None;
            };
            self.close(&mut table, &expendable);
        }
        let connection = table.add(self, peer);
        self.open.inc();
        Some(Admitted { connection })
    }

    /// Closes connections until what the others hold is within the limit. Each time the peer that
    /// holds the most loses the connection that holds the most.
    pub(super) fn reclaim(&self, memory: Memory) {
        let mut table = self.lock();
        while let Some(largest) = table.too_large(memory) {
            self.close(&mut table, &largest);
        }
    }

    fn close(&self, table: &mut Table, connection: &Connection) {
        table.remove(connection);
        connection.close();
        self.closed.inc();
    }

    /// Returns a number that is larger than all that were returned before.
    pub(super) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is in the table until this is dropped, unless it was told to close before.
pub(super) struct Admitted {
    connection: Arc<Connection>,
}

impl Admitted {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let peers = self.connection.peers();
        peers.lock().remove(&self.connection);
        peers.open.dec();
    }
}

/// The connections that were let in and not told to close.
#[derive(Default)]
struct Table {
    peers: HashMap<IpAddr, Peer>,
    connections: usize,
}

#[derive(Default)]
struct Peer {
    limits: Arc<PeerLimits>,
    connections: Vec<Arc<Connection>>,
}

impl Peer {
    fn held(&self, memory: Memory) -> usize {
        let held = self.connections.iter().map(|one| one.held(memory));
        held.fold(0, usize::saturating_add)
    }
}

impl Table {
    fn add(&mut self, peers: &Arc<Peers>, address: IpAddr) -> Arc<Connection> {
        let peer = self.peers.entry(address).or_default();
        let limits = Arc::clone(&peer.limits);
        let connection = Arc::new(Connection::new(address, Arc::clone(peers), limits));
        peer.connections.push(Arc::clone(&connection));
        self.connections += 1;
        connection
    }

    /// Removes the connection. Addresses without connections are dropped.
    fn remove(&mut self, connection: &Connection) {
        let Some(peer) = self.peers.get_mut(&connection.peer) else {
            return;
        };
        let mut connections = peer.connections.iter();
        let Some(at) = connections.position(|one| std::ptr::eq(Arc::as_ptr(one), connection))
        else {
            return;
        };
        peer.connections.swap_remove(at);
        self.connections -= 1;
        if peer.connections.is_empty() {
            self.peers.remove(&connection.peer);
        }
    }

    /// Returns the connection to close for another one of `newcomer`: the longest idle of the peer
    /// with the most connections. A busy one goes only where its peer has more than the newcomer.
    fn expendable_for(&self, newcomer: IpAddr) -> Option<Arc<Connection>> {
        let count = |peer: &Peer| peer.connections.len();
        let (size, expendable) = self
            .peers
            .values()
            .flat_map(|peer| peer.connections.iter().map(move |one| (count(peer), one)))
            .max_by_key(|(size, one)| (*size, !one.is_busy(), Reverse(one.last_used())))?;
        let with_newcomer = self.peers.get(&newcomer).map_or(0, count) + 1;
        (!expendable.is_busy() || size > with_newcomer).then(|| Arc::clone(expendable))
    }

    /// Returns the connection to close when all together hold more than they may.
    fn too_large(&self, memory: Memory) -> Option<Arc<Connection>> {
        let by_peer = || self.peers.values().map(|peer| (peer.held(memory), peer));
        let all = by_peer().fold(0, |all: usize, (held, _)| all.saturating_add(held));
        if all <= memory.limit() {
            return None;
        }
        let (_, peer) = by_peer().max_by_key(|(held, _)| *held)?;
        let largest = peer.connections.iter().max_by_key(|one| one.held(memory))?;
        Some(Arc::clone(largest))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, HttpBody};
    use http_body_util::BodyExt;

    use super::{super::answers::Unread, *};

    const MIB: usize = 1 << 20;

    fn peers(max_connections: usize) -> Arc<Peers> {
        Arc::new(Peers::new(max_connections, &Metrics::new(), Port::Webhook))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn admit(peers: &Arc<Peers>, last: u8) -> Admitted {
        peers.admit(address(last)).unwrap()
    }

    impl Admitted {
        fn is_closed(&self) -> bool {
            let table = self.connection.peers().lock();
            let peer = table.peers.get(&self.connection.peer);
            let mut connections = peer.into_iter().flat_map(|peer| &peer.connections);
            !connections.any(|one| Arc::ptr_eq(one, &self.connection))
        }

        fn hold(&self, memory: Memory, mib: usize) -> super::super::Held {
            self.connection.hold(memory, mib * MIB)
        }
    }

    fn closed(connections: &[Admitted]) -> Vec<bool> {
        connections.iter().map(Admitted::is_closed).collect()
    }

    #[test]
    fn the_address_with_the_most_connections_makes_room() {
        let peers = peers(4);
        let quiet = admit(&peers, 1);
        let greedy: Vec<_> = (0..3).map(|_| admit(&peers, 2)).collect();
        let another = admit(&peers, 3);
        assert_eq!(closed(&greedy), [true, false, false]);
        // For itself too.
        let _one_more = admit(&peers, 2);
        assert_eq!(closed(&greedy), [true, true, false]);
        assert!(!quiet.is_closed() && !another.is_closed());
    }

    #[test]
    fn the_longest_idle_connection_goes_before_any_busy_one() {
        let peers = peers(3);
        let connections: Vec<_> = (0..3).map(|_| admit(&peers, 1)).collect();
        drop(connections[0].connection.begin_request());
        let _busy = connections[1].connection.begin_request();
        let _more = admit(&peers, 1);
        assert_eq!(closed(&connections), [false, false, true]);
        let _more = admit(&peers, 1);
        assert_eq!(closed(&connections), [true, false, true]);
    }

    #[test]
    fn a_busy_connection_goes_only_for_an_address_with_fewer() {
        let peers = peers(2);
        let greedy = [admit(&peers, 1), admit(&peers, 1)];
        let busy: Vec<_> = greedy
            .iter()
            .map(|one| one.connection.begin_request())
            .collect();
        assert!(peers.admit(address(1)).is_none());
        assert_eq!(closed(&greedy), [false, false]);
        let other = admit(&peers, 2);
        assert_eq!(closed(&greedy), [true, false]);
        let _busy_too = other.connection.begin_request();
        assert!(peers.admit(address(3)).is_none());
        drop(busy);
        assert!(peers.admit(address(3)).is_some());
    }

    #[test]
    fn addresses_without_connections_are_dropped() {
        let peers = peers(1);
        let first = admit(&peers, 1);
        let second = admit(&peers, 2);
        assert!(first.is_closed());
        drop((first, second));
        let table = peers.lock();
        assert!(table.peers.is_empty() && table.connections == 0);
        assert_eq!(peers.open.get(), 0);
    }

    #[test]
    fn when_memory_is_full_the_address_that_holds_the_most_loses_its_largest() {
        for memory in [Memory::Bodies, Memory::Answers] {
            let peers = peers(8);
            let greedy: Vec<_> = (0..4).map(|_| admit(&peers, 1)).collect();
            let other = admit(&peers, 2);
            let quarter = memory.limit() / MIB / 4;
            // Less in all than the other one's, which is the largest.
            let sizes = [quarter - 1, quarter, quarter - 1, 1];
            let held: Vec<_> = greedy
                .iter()
                .zip(sizes)
                .map(|(one, mib)| one.hold(memory, mib))
                .collect();
            let _others = other.hold(memory, quarter + 1);
            assert_eq!(closed(&greedy), [false; 4], "{memory:?}");
            let _too_much = other.hold(memory, 1);
            assert_eq!(closed(&greedy), [false, true, false, false], "{memory:?}");
            // What the closed one held is on its way back: nobody else has to go for it.
            let _more = other.hold(memory, quarter - 2);
            assert_eq!(closed(&greedy), [false, true, false, false], "{memory:?}");
            assert!(!other.is_closed());
            drop(held);
            assert_eq!(peers.held.of(memory), (2 * quarter) * MIB);
        }
    }

    #[tokio::test]
    async fn an_answer_counts_until_all_of_it_is_written() {
        let peers = peers(1);
        let admitted = admit(&peers, 1);
        let held = || admitted.connection.held(Memory::Answers);
        let mut answer = Unread::new(Body::from(vec![0; MIB]), &admitted.connection);
        assert!(held() > MIB);
        let frame = answer.frame().await.unwrap().unwrap();
        assert!(answer.is_end_stream());
        drop(answer);
        assert_eq!(held(), MIB);
        drop(frame);
        assert_eq!(held(), 0);
    }
}
