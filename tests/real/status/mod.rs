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
