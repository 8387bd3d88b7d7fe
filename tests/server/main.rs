//! The server over real sockets: TLS on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::large_futures,
    reason = "a test that meets the unexpected should stop there"
)]

mod certificates;
mod connections;
mod forged;
mod hostile;
mod hosts;
mod requests;
mod reviews;
mod shutdown;
