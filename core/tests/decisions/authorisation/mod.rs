//! What a pod or the owner of a namespace can obtain: nothing that the policy does not give.
//!
//! The worlds are made by an attacker who may write any pod, and any label of a namespace. What he
//! should get at most is worked out here from the policy's text, by other means than the crate's.

mod attacks;
mod grants;
mod keys;
mod oracle;
mod pods;
mod world;
