//! Whole decisions, from a pod to its patch: golden cases, properties, and what an attacker may get.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop there"
)]

#[allow(clippy::disallowed_methods, reason = "cases are files")]
mod golden;

mod authorisation;
mod properties;
mod sockets;
