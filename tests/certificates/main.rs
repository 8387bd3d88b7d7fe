//! Certificates against an API server with real versions, at times that the tests choose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop there"
)]

mod cluster;
mod damage;
mod files;
mod install;
mod outages;
mod rotation;
