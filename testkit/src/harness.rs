//! A test harness in which a test can be skipped at run time, with a reason. cargo's own cannot do that.
//!
//! ```ignore
//! fn the_chart_renders() -> Outcome {
//!     let helm = tools::need("helm")?;
//!     …
//!     Ok(())
//! }
//!
//! pub fn tests() -> Vec<Test> {
//!     tests![the_chart_renders]
//! }
//! ```
//!
//! A test that is missing from its list is dead code, which the compiler reports.

use std::{
    collections::BTreeMap,
    env, fmt,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use libtest_mimic::{Arguments, Completion, Trial};

/// Why a test is skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip(String);

/// The result of a test: passed or skipped. A failure panics.
pub type Outcome = Result<(), Skip>;

impl Skip {
    /// Skips a test for this reason.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// Skips a test because this machine lacks something that CI installs.
    ///
    /// # Panics
    /// With `SLIPWAY_REQUIRE_TOOLS=1`, as in CI.
    pub fn lacking(what: impl fmt::Display) -> Self {
        let required = env::var_os("SLIPWAY_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(!required, "SLIPWAY_REQUIRE_TOOLS=1, but {what}");
        Self(what.to_string())
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One test.
pub struct Test {
    name: &'static str,
    run: Box<dyn FnOnce() -> Outcome + Send>,
}

impl Test {
    /// Creates a test whose name is its path; [`tests!`](crate::tests) fills it in.
    pub fn new<Kind>(name: &'static str, test: impl Body<Kind>) -> Self {
        Self {
            name,
            run: Box::new(|| test.run()),
        }
    }
}

/// Lists these functions as tests.
#[macro_export]
macro_rules! tests {
    ($($test:ident),+ $(,)?) => {
        vec![$($crate::harness::Test::new(concat!(module_path!(), "::", stringify!($test)), $test)),+]
    };
}

/// The return type of a test function: an [`Outcome`], or `()` if it is never skipped.
pub trait Returned {
    /// Converts it to an outcome.
    fn outcome(self) -> Outcome;
}

impl Returned for () {
    fn outcome(self) -> Outcome {
        Ok(())
    }
}

impl Returned for Outcome {
    fn outcome(self) -> Outcome {
        self
    }
}

/// A test function. `Kind` tells plain functions from async ones.
pub trait Body<Kind>: Send + 'static {
    /// Runs it; an async one gets a new runtime.
    fn run(self) -> Outcome;
}

/// The kind of plain functions that return `R`.
pub struct Plain<R>(R);

/// The kind of async functions whose future is `F`.
pub struct Async<F>(F);

impl<T, R> Body<Plain<R>> for T
where
    T: FnOnce() -> R + Send + 'static,
    R: Returned,
{
    fn run(self) -> Outcome {
        self().outcome()
    }
}

impl<T, F> Body<Async<F>> for T
where
    T: FnOnce() -> F + Send + 'static,
    F: Future<Output: Returned>,
{
    fn run(self) -> Outcome {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(self()).outcome()
    }
}

/// Runs the tests as cargo's harness would, with its arguments and its summary. Then prints a line for each reason why
/// tests were skipped, and how many.
pub fn main(tests: Vec<Test>) -> ExitCode {
    let skipped = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let trial = |test: Test| {
        let skipped = Arc::clone(&skipped);
        let (_, name) = test.name.split_once("::").unwrap_or(("", test.name));
        Trial::ignorable_test(name, move || match (test.run)() {
            Ok(()) => Ok(Completion::Completed),
            Err(Skip(reason)) => {
                let mut skipped = skipped.lock().unwrap_or_else(PoisonError::into_inner);
                *skipped.entry(reason.clone()).or_default() += 1;
                Ok(Completion::ignored_with(reason))
            }
        })
    };
    let trials = tests.into_iter().map(trial).collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    let skipped = skipped.lock().unwrap_or_else(PoisonError::into_inner);
    for (reason, count) in &*skipped {
        println!("skipped {count}: {reason}");
    }
    conclusion.exit_code()
}
