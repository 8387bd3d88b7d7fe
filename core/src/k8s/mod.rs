//! Kubernetes' own terms: names, quantities, namespaces and their limits, and the objects of a cluster read
//! from a file.

pub mod cluster_file;
pub mod limits;
pub mod names;
pub mod namespace;
pub mod quantity;
pub mod resource_field;
