//! The Helm chart, rendered by real helm: every switch on and off, and what comes out checked as
//! Kubernetes would.
//!
//! `SLIPWAY_BLESS=1 cargo test --test real chart` rewrites what is generated from the source: the
//! recognisers and the policy's part of the schema.

mod expression;
mod generated;
mod guards;
mod helm;
mod invariants;
mod matrix;
mod metrics;
mod modes;
mod objects;
mod reference;

use slipway_testkit::harness::Test;

/// Lists the tests of all modules.
pub fn tests() -> Vec<Test> {
    [
        expression::tests(),
        generated::tests(),
        guards::tests(),
        matrix::tests(),
        metrics::tests(),
        modes::tests(),
        objects::tests(),
        reference::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
