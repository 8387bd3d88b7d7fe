//! The Helm chart, rendered by real helm with every value on and off, and checked as Kubernetes would
//! check it.
//!
//! `SLIPWAY_BLESS=1 cargo test --test real chart` rewrites the parts that are generated from the source:
//! the recognisers and the policy's schema.

mod edges;
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
        edges::tests(),
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
