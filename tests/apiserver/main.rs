//! Slipway behind a real kube-apiserver and etcd: what only they can show. Which patches they take, what
//! other admission plugins make of them, and that no pod's creation fails or waits for Slipway's sake.
//!
//! The binaries (`etcd`, `kube-apiserver`, `kubectl`) are looked for as envtest does: in
//! `KUBEBUILDER_ASSETS`, else in `/usr/local/kubebuilder/bin`. Without them the suite says that it was
//! skipped; with `SLIPWAY_REQUIRE_APISERVER=1` it fails. The same goes for `helm`, which most cases need to
//! install the chart: that of `HELM`, of the path, or of `.ci/install-tools`. Logs stay in
//! `target/tmp/apiserver/`.
//!
//! There is no kubelet, no scheduler and no controller here: pods are stored and never run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy knows test functions, not their helpers"
)]

mod admission;
mod certificates;
mod commands;
mod compare;
mod fixture;
mod golden;
mod harness;
mod limits;
mod matching;
mod matrix;
mod outages;
mod place;
mod reinvocation;
mod rights;
