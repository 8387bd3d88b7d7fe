//! What the tests and benchmarks share.
//!
//! | module | holds |
//! | --- | --- |
//! | [`api_server`] | a Kubernetes API server in memory, whose faults a test scripts |
//! | [`claims`] | replicas that lease the claims of a pool from it |
//! | [`client`] | an HTTPS client: raw connections, and complete requests on top |
//! | [`fleets`] | nodes of a large cluster |
//! | [`harness`] | runs tests that may be skipped, with the reason |
//! | [`hostile`] | hostile clients, and a well-behaved client beside them |
//! | [`kube_apiserver`] | a real kube-apiserver and etcd, with Slipway's chart installed |
//! | [`kubelet`] | a stand-in for the kubelet: runs dockerd as a patched pod says |
//! | [`machine`] | what runs dockerd: programs, a node's directories, an image |
//! | [`process`] | `slipway serve` as a process, with its processor time and memory |
//! | [`reviews`] | AdmissionReviews of several sizes |
//! | [`served`] | a server on loopback |
//! | [`table`] | tables of results, in Markdown |
//! | [`tools`] | programs that tests run and a machine may lack |
//! | [`workspace`] | the repository's files, and what cargo has built |
//! | [`yardstick`] | the shortest parse of a review that a webhook could do |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    missing_docs,
    reason = "a test that meets the unexpected should stop there"
)]

pub mod api_server;
pub mod claims;
pub mod client;
pub mod fleets;
pub mod harness;
pub mod hostile;
pub mod kube_apiserver;
#[cfg(target_os = "linux")]
pub mod kubelet;
#[cfg(target_os = "linux")]
pub mod machine;
pub mod process;
pub mod reviews;
pub mod served;
pub mod table;
pub mod tools;
pub mod workspace;
pub mod yardstick;
