//! Manifests: where the pods are in the documents that people write.

pub mod arc;
