//! The commands of the program, as a shell runs them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop there"
)]

mod bad_input;
mod cluster;
mod files;
mod policy;
mod program;
mod terminal;
