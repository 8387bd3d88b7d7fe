//! Slipway behind a real kube-apiserver and etcd, for what only they can show: which patches they accept,
//! what other admission plugins do with them, and that Slipway never makes a pod's creation fail or wait.
//!
//! `etcd` and `kube-apiserver` are found as in envtest: in `KUBEBUILDER_ASSETS`, otherwise in
//! `/usr/local/kubebuilder/bin`. `kubectl` is searched there first, then like `helm`, which most tests need
//! to install the chart: by the variables `KUBECTL` and `HELM`, on the path, and where `.ci/install-tools`
//! puts them. If one of the four is missing, the tests are skipped with a message; with
//! `SLIPWAY_REQUIRE_APISERVER=1` they fail. Logs stay in `target/tmp/apiserver/`.
//!
//! There is no kubelet, scheduler or controller: pods are stored and never run.

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
