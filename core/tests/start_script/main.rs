//! The start script's functions in the shells that images have, without root and without dockerd.
//!
//! `tests/real/docker` runs it with real daemons.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that meets the unexpected should stop there, and scripts need files and processes"
)]
#![cfg(unix)]

mod builders;
mod buildkitd;
mod functions;
mod shell;
mod whole;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};
use shell::{Sandbox, Shell};

/// The name and the function of a test, which runs in each shell.
type Test = (&'static str, fn(&Sandbox));

fn main() -> ExitCode {
    let tests = functions::TESTS
        .iter()
        .chain(builders::TESTS)
        .chain(buildkitd::TESTS)
        .chain(whole::TESTS);
    let trials = tests.flat_map(|test| Shell::ALL.map(|shell| trial(*test, shell)));
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

fn trial((name, test): Test, shell: Shell) -> Trial {
    Trial::ignorable_test(format!("{}::{name}", shell.name()), move || {
        if let Some(lack) = shell.lacks() {
            let required = std::env::var("SLIPWAY_REQUIRE_TOOLS").is_ok_and(|value| value == "1");
            assert!(!required, "SLIPWAY_REQUIRE_TOOLS=1, but {lack}");
            return Ok(Completion::ignored_with(lack));
        }
        test(&Sandbox::new(shell));
        Ok(Completion::Completed)
    })
}
