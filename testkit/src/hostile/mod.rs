//! Hostile clients, the server that they attack, and a well-behaved client beside them.

pub mod attacks;
pub mod neighbour;
pub mod served;
