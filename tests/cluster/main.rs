//! Slipway in a cluster with an in-memory API server: watches, leader election, claims, certificates.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop there"
)]

mod certificates;
mod claims;
mod leader;
mod namespaces;
mod serve;
mod watch;
