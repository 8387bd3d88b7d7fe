//! `slipway slots sweep`, the program itself, on directories that hold what jobs may have left or are changing just now.

mod hostile;
mod idle;
mod node;
mod rights;
mod size;

use slipway_testkit::harness::Test;

/// Lists the tests of all modules.
pub fn tests() -> Vec<Test> {
    [
        hostile::tests(),
        idle::tests(),
        rights::tests(),
        size::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
