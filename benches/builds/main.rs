//! Real builds on a real dockerd, strategy against strategy.
//!
//! Every job gets a fresh dockerd, started with exactly the arguments, daemon.json, volumes, variables and start wrapper that
//! Slipway's patch gives an ARC pod under the strategy's profile. `docs/benchmarks.md` says what is measured and how to
//! run it: as root on Linux,
//!
//! ```sh
//! cargo bench --profile dev --bench builds
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a measurement that meets the unexpected should stop there"
)]

#[cfg(target_os = "linux")]
mod bar;
#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod chart;
#[cfg(target_os = "linux")]
mod image;
#[cfg(target_os = "linux")]
mod job;
#[cfg(target_os = "linux")]
#[path = "../../tests/docker/kubelet.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod kubelet;
#[cfg(target_os = "linux")]
#[path = "../../tests/docker/machine.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod machine;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
mod progress;
#[cfg(target_os = "linux")]
mod record;
#[cfg(target_os = "linux")]
mod registry;
#[cfg(target_os = "linux")]
mod relay;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod site;
#[cfg(target_os = "linux")]
mod size;
#[cfg(target_os = "linux")]
mod strategy;
#[cfg(target_os = "linux")]
mod summary;

fn main() {
    #[cfg(target_os = "linux")]
    run::main();
    #[cfg(not(target_os = "linux"))]
    eprintln!("skipped: dockerd needs Linux");
}
