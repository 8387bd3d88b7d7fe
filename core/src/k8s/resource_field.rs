//! The request or the limit of one resource, as ResourceQuotas name it.

use std::fmt;

/// Requests or limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum ResourceKind {
    /// What the scheduler reserves.
    Requests,
    /// What the kernel enforces.
    Limits,
}

/// The request or the limit of one resource. Prints as `limits.memory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceField {
    /// Which of the two.
    pub kind: ResourceKind,
    /// The resource's name.
    pub resource: String,
}

impl fmt::Display for ResourceField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.resource)
    }
}
