//! Kubernetes' own terms: quantities, namespaces, and the objects of a cluster read from a file.

pub mod cluster_file;
pub mod namespace;
pub mod quantity;
