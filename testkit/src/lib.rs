//! What the tests and benchmarks share.
//!
//! | module | holds |
//! | --- | --- |
//! | [`api_server`] | a Kubernetes API server in memory, whose faults a test scripts |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    missing_docs,
    reason = "a test that meets the unexpected should stop there"
)]

pub mod api_server;
