//! Manifests: finds the pods in the documents that people write, and the position of each value.

pub mod arc;
pub mod documents;
mod kinds;
mod pod_location;
mod pointer;
mod position;
pub mod type_error;
pub mod workload;

pub use pod_location::PodLocation;
pub use position::Position;
pub(crate) use position::PositionTree;
