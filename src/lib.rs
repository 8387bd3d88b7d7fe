//! Slipway: a Kubernetes mutating admission webhook that gives CI runner pods a fast build path.
pub mod admit;
pub mod commands;
pub mod decide;
pub mod dockerd;
pub mod fleet;
pub mod inject;
pub mod manifest;
pub mod namespace;
pub mod nodes;
pub mod patch;
pub mod pod;
pub mod policy;
pub mod quantity;
pub mod reason;
pub mod recognise;
pub mod review;
