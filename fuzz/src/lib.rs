//! The core of Slipway, compiled alone, so that it is all that is instrumented and nothing of the
//! shell has to be built; and what must hold for whatever comes.

// The shell's modules are not here, and links to them lead nowhere.
#![allow(dead_code, rustdoc::broken_intra_doc_links)]

// Pools take their time stamps from k8s-openapi, which has them from jiff: no need to build its API.
extern crate self as k8s_openapi;
pub use jiff;

#[path = "../../src/admit.rs"]
pub mod admit;
#[path = "../../src/cache_key.rs"]
pub mod cache_key;
#[path = "../../src/decide/mod.rs"]
pub mod decide;
#[path = "../../src/dockerd.rs"]
pub mod dockerd;
#[path = "../../src/inject/mod.rs"]
pub mod inject;
#[path = "../../src/namespace.rs"]
pub mod namespace;
#[path = "../../src/nodes/mod.rs"]
pub mod nodes;
#[path = "../../src/patch/mod.rs"]
pub mod patch;
#[path = "../../src/pod/mod.rs"]
pub mod pod;
#[path = "../../src/policy/mod.rs"]
pub mod policy;
#[path = "../../src/pool/mod.rs"]
pub mod pool;
#[path = "../../src/quantity.rs"]
pub mod quantity;
#[path = "../../src/reason.rs"]
pub mod reason;
#[path = "../../src/recognise.rs"]
pub mod recognise;
#[path = "../../src/review.rs"]
pub mod review;

pub mod invariants;
