//! The status page, over real sockets and in a real browser.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop there"
)]

mod browser;
mod documented;
mod explained;
mod guarded;
mod page;
mod prometheus;
mod replica;
mod style;
mod webdriver;
