//! Real builds on a real dockerd, strategy against strategy.
//!
//! Every job gets a fresh dockerd, started with exactly the arguments, daemon.json, volumes, variables and start wrapper that
//! Slipway's patch gives an ARC pod under the strategy's profile. `docs/benchmarks.md` says what is measured and how to
//! run it: as root on Linux,
//!
//! ```sh
//! cargo run -p bench-builds
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement that meets the unexpected should stop there"
)]

mod bar;
mod cgroup;
mod chart;
mod image;
mod job;
mod network;
mod progress;
mod record;
mod registry;
mod relay;
mod report;
mod run;
mod site;
mod size;
mod strategy;
mod summary;

use slipway_testkit::{kubelet, machine};

#[cfg(not(target_os = "linux"))]
compile_error!("dockerd needs Linux");

fn main() {
    run::main();
}
