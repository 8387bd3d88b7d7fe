//! The network of the benchmark, all of it in a namespace of its own:
//!
//! ```text
//! pod ── lan (bridge) ── mirror's relay, which only counts ── mirror ─┐
//!              └──────── the long way: 20 ms each way ───────────────┴─ tbf ── hub: the upstream registry
//! ```

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Command,
    sync::Arc,
    time::Duration,
};

use super::{
    machine::stdout,
    relay::{self, Count},
};

/// The address of the pod.
const POD: Ipv4Addr = Ipv4Addr::new(10, 20, 30, 40);
/// Where the mirror is reached.
pub const MIRROR: Ipv4Addr = Ipv4Addr::new(10, 20, 30, 2);
/// Where the upstream registry is reached, over the long way.
pub const UPSTREAM: Ipv4Addr = Ipv4Addr::new(10, 20, 30, 3);
/// Where the upstream registry listens, in the namespace `hub`.
pub const HUB: &str = "10.99.0.2:443";
/// Where the mirror listens.
pub const MIRROR_LISTENS: &str = "127.0.0.1:5443";
/// The namespace of the pod.
pub const POD_NAMESPACE: &str = "/run/netns/pod";
/// The namespace of the upstream registry.
pub const HUB_NAMESPACE: &str = "/run/netns/hub";
/// One way of the long way.
pub const DELAY: Duration = Duration::from_millis(20);

/// The network, and what went over it.
pub struct Network {
    upstream: Arc<Count>,
    mirror: Arc<Count>,
}

/// Bytes, since the benchmark began.
#[derive(Clone, Copy)]
pub struct Traffic {
    /// From the upstream registry to the pod.
    pub upstream_to_pod: u64,
    /// From the upstream registry to the mirror.
    pub upstream_to_mirror: u64,
    /// From the mirror to the pod.
    pub mirror_to_pod: u64,
}

impl Network {
    /// Makes it, in the network namespace of this process.
    pub fn new() -> Self {
        ip("link set lo up");
        ip("link add lan type bridge");
        ip("link set lan up");
        for address in [Ipv4Addr::new(10, 20, 30, 1), MIRROR, UPSTREAM] {
            ip(&format!("address add {address}/24 dev lan"));
        }
        ip("netns add hub");
        ip("link add wan type veth peer name wan netns hub");
        ip("address add 10.99.0.1/30 dev wan");
        ip("link set wan up");
        ip("-n hub address add 10.99.0.2/30 dev wan");
        ip("-n hub link set wan up");
        ip("-n hub link set lo up");
        let relay = |address, server: &str, delay| {
            let listener = TcpListener::bind(SocketAddr::from((address, 443))).unwrap();
            relay::start(listener, server.parse().unwrap(), delay, POD)
        };
        Self {
            upstream: relay(UPSTREAM, HUB, DELAY),
            mirror: relay(MIRROR, MIRROR_LISTENS, Duration::ZERO),
        }
    }

    /// What went over it so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            upstream_to_pod: self.upstream.to_pod(),
            upstream_to_mirror: self.upstream.to_others(),
            mirror_to_pod: self.mirror.to_pod(),
        }
    }
}

/// Sets the rate of the long way, in both directions.
pub fn set_rate(mbit: u32) {
    for namespace in [&[][..], &["-n", "hub"]] {
        let rate = format!("{mbit}mbit");
        let queue = ["dev", "wan", "root", "tbf", "rate", &rate];
        // Deep enough that nothing is dropped: between neighbours a lost packet costs far more than on a long way.
        let depth = ["burst", "256kb", "limit", "32mb"];
        let words = [&["qdisc", "replace"][..], &queue, &depth].concat();
        stdout(Command::new("tc").args(namespace).args(words));
    }
}

/// A new network for a new pod.
pub fn renew_pod() {
    let _ = Command::new("ip").args(["netns", "delete", "pod"]).output();
    let _ = Command::new("ip").args(["link", "delete", "pod"]).output();
    ip("netns add pod");
    ip("link add pod type veth peer name eth0 netns pod");
    ip("link set pod master lan up");
    ip("-n pod link set lo up");
    ip("-n pod link set eth0 up");
    ip(&format!("-n pod address add {POD}/24 dev eth0"));
    ip("-n pod route add default via 10.20.30.1");
}

fn ip(words: &str) {
    stdout(Command::new("ip").args(words.split(' ')));
}
