//! What a pod or the owner of a namespace can obtain: nothing that the policy does not give.
//!
//! The worlds are made by an attacker who may write any pod, and any label of a namespace. What he
//! should get at most is worked out here from the policy's text, by other means than the crate's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop there"
)]

mod attacks;
mod grants;
mod keys;
mod oracle;
mod pods;
mod world;
