//! Slipway behind a real kube-apiserver and etcd: what only they can show. Which patches they take, what
//! other admission plugins make of them, and that no pod's creation fails or waits for Slipway's sake.
//!
//! `etcd` and `kube-apiserver` are looked for as envtest does: in `KUBEBUILDER_ASSETS`, else in
//! `/usr/local/kubebuilder/bin`. `kubectl` is looked for there first, then as `helm` is, which most cases need
//! to install the chart: by the variables `KUBECTL` and `HELM`, on the path, where `.ci/install-tools` puts
//! them. Without one of the four the suite says that it was skipped; with `SLIPWAY_REQUIRE_APISERVER=1` it
//! fails. Logs stay in `target/tmp/apiserver/`.
//!
//! There is no kubelet, no scheduler and no controller here: pods are stored and never run.

mod admission;
mod certificates;
mod commands;
mod compare;
mod fixture;
mod golden;
mod limits;
mod matching;
mod matrix;
mod outages;
mod place;
mod reinvocation;
mod releases;
mod rights;
mod takeover;

use slipway_testkit::{harness::Test, kube_apiserver as harness};

/// Lists the tests of all modules.
pub fn tests() -> Vec<Test> {
    [
        admission::tests(),
        certificates::tests(),
        commands::tests(),
        golden::tests(),
        limits::tests(),
        matching::tests(),
        matrix::tests(),
        outages::tests(),
        reinvocation::tests(),
        releases::tests(),
        rights::tests(),
        takeover::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
