//! The status page, over real sockets and in a real browser.

mod browser;
mod documented;
mod explained;
mod guarded;
mod page;
mod prometheus;
mod replica;
mod style;
mod webdriver;

use slipway_testkit::harness::Test;

/// Lists the tests of all modules.
pub fn tests() -> Vec<Test> {
    [
        browser::tests(),
        documented::tests(),
        explained::tests(),
        guarded::tests(),
        page::tests(),
        prometheus::tests(),
        style::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
