//! Slipway: a Kubernetes mutating admission webhook that gives CI runner pods a fast build path.
//!
//! This crate is the program around [`slipway_core`], which makes the decisions. A request passes
//! `tls`, then `server`, which calls the core with what `cluster` knows at that moment.
//!
//! | module | purpose |
//! | --- | --- |
//! | [`cli`] | The commands, and the start of the server, in a cluster or without one |
//! | [`tls`] | The serving certificate, and the check of client certificates |
//! | [`server`] | The webhook's HTTPS port; health, metrics and the status page on the other port |
//! | [`cluster`] | Watches the cluster into immutable state, elects a leader, writes Events |
//! | [`cache_claims`] | Leases claims of cache pools to pods; the leader's upkeep of the pools |
//! | [`certificates`] | Makes, renews and announces the webhook's certificates |
//! | [`metrics`] | The metrics, and what they count |
//! | `node_slots` | Deletes the node slots that no dockerd took for some time; on Linux |

pub mod cache_claims;
pub mod certificates;
pub mod cli;
pub mod cluster;
pub mod metrics;
#[cfg(target_os = "linux")]
pub mod node_slots;
pub mod server;
pub mod tls;
