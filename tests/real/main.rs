//! Slipway with real programs (kube-apiserver, dockerd, helm, Chromium, Prometheus) and on real files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop there"
)]

mod apiserver;
mod chart;
#[cfg(target_os = "linux")]
mod docker;
mod docs;
mod image;
mod status;
#[cfg(target_os = "linux")]
mod sweeper;

use std::process::ExitCode;

use slipway_testkit::harness;

fn main() -> ExitCode {
    let tests = [
        apiserver::tests(),
        chart::tests(),
        #[cfg(target_os = "linux")]
        docker::tests(),
        docs::tests(),
        image::tests(),
        status::tests(),
        #[cfg(target_os = "linux")]
        sweeper::tests(),
    ];
    harness::main(tests.into_iter().flatten().collect())
}
