//! Pools of claims: the promise that no claim has two live pods, in a model and against an API server
//! with real versions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop there"
)]

mod admissions;
mod cluster;
mod command;
mod controller;
mod faults;
mod model;
mod served;
