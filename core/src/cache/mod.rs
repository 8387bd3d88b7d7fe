//! Caches that outlive a runner: the key that separates them, and the claims that hold them.

pub mod claims;
pub mod key;
