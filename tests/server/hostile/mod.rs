//! Hostile clients over real sockets. Beside each attack a well-behaved client, from another address,
//! sees no failed request; how long its requests took is printed.

mod crowd;
mod http1;
mod http2;
mod memory;
mod shutdown;
mod tls;

use slipway_testkit::hostile::{attacks, neighbour, served};
