//! Slipway: a Kubernetes mutating admission webhook that gives CI runner pods a fast build path.
//!
//! This is the program around `slipway_core`, which decides. The modules, one line each:

pub mod cache_claims;
pub mod certificates;
pub mod cli;
pub mod cluster;
pub mod metrics;
pub mod server;
pub mod tls;
