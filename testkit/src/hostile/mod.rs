//! Hostile clients, and a well-behaved client beside them.

pub mod attacks;
pub mod neighbour;

use std::net::Ipv4Addr;

use crate::{client::TlsClient, served::Served};

/// The address that attacks come from. The well-behaved client's is 127.0.0.1.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// Returns a client at the attacker's address.
pub fn attacker(served: &Served) -> TlsClient {
    served.client().from_address(ATTACKER)
}
