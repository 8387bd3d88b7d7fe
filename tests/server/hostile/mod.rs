//! Hostile clients over real sockets. During each attack a well-behaved client at another address
//! sends requests, none of which may fail; how long they took is printed.

mod crowd;
mod http1;
mod http2;
mod memory;
mod shutdown;
mod tls;

use slipway_testkit::hostile::{attacker, attacks, neighbour};
