//! The core of Slipway, pure: no clock, no I/O, no async, no Kubernetes client.

pub mod admission;
pub mod cache;
pub mod decide;
pub mod dockerd;
pub mod explain;
pub mod inject;
pub mod k8s;
pub mod manifest;
pub mod nodes;
pub mod patch;
pub mod pod;
pub mod policy;
pub mod reason;
pub mod recognise;
