//! Injections as RFC 6902 operations on the raw object.

use json_patch::Patch;

use crate::{inject::Injection, pod::Pod};

/// The operations that put `injections` into `pod`.
#[must_use]
pub fn operations(_pod: &Pod<'_>, _injections: &[Injection]) -> Patch {
    Patch::default()
}
