//! Manifests: where the pods are in the documents that people write.

pub mod arc;
pub mod documents;
mod position;
pub mod type_error;
pub mod workload;

pub(crate) use position::Location;
pub use position::Position;
