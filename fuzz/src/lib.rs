//! What must hold for any input at all; `fuzz_targets/` makes the inputs.

pub mod invariants;
