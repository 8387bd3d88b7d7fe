//! Hostile clients over real sockets. Beside each attack a well-behaved client, from another address,
//! sees no failed request; how long its requests took is printed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::large_futures,
    reason = "a test that meets the unexpected should stop there"
)]

mod attacks;
mod crowd;
mod http1;
mod http2;
mod memory;
mod neighbour;
mod served;
mod shutdown;
mod tls;
