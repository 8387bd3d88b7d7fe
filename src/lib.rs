//! Slipway: a Kubernetes mutating admission webhook that gives CI runner pods a fast build path.
//!
//! The way of a request: [`review`] reads an AdmissionReview, [`recognise`] tells runner pods and
//! the roles of their containers, [`nodes`] knows which nodes could run the pod and what their
//! runtimes have in common, [`decide`] weighs strategies under the [`policy`], [`inject`] turns
//! the plan into injections, [`patch`] writes those as RFC 6902 operations. [`admit`] is the whole
//! way; [`explain`] puts it into words for a manifest. All of this is core: pure functions over
//! borrowed bytes, with every reason a variant of [`reason::Reason`].
//!
//! The shell is thin and depends on the core, never the other way round: [`server`] answers over
//! TLS, [`commands`] is the command line, [`fleet`] reads nodes and namespaces from files. A test,
//! `tests/architecture.rs`, holds the line.

pub mod admit;
pub mod cache_key;
pub mod certificates;
pub mod claims;
pub mod commands;
pub mod decide;
pub mod dockerd;
pub mod events;
pub mod explain;
pub mod facts;
pub mod fleet;
pub mod inject;
pub mod leader;
pub mod manifest;
pub mod metrics;
pub mod namespace;
pub mod nodes;
pub mod patch;
pub mod pod;
pub mod policy;
pub mod pool;
pub mod quantity;
pub mod reason;
pub mod recognise;
pub mod review;
pub mod server;
pub mod watch;
