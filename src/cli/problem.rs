//! Problems that `nodes`, `check` and `cache` find: what is wrong, and what to do about it.

use serde::Serialize;

use super::output::{Paint, count};

/// The severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Something does not work. The command's exit code is 1.
    Error,
    /// Something works less well than it could, or could not be checked.
    Warning,
}

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    pub(super) severity: Severity,
    /// The object, such as `namespace ci`.
    pub(super) about: String,
    /// What is wrong.
    pub(super) what: String,
    /// What to do about it.
    #[serde(rename = "do")]
    pub(super) remedy: String,
}

impl Problem {
    pub(super) fn error(about: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Error, about, what, remedy)
    }

    pub(super) fn warning(about: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Warning, about, what, remedy)
    }

    fn new(
        severity: Severity,
        about: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            about: about.to_owned(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// Returns whether one of them is an error.
pub(super) fn any_error(problems: &[Problem]) -> bool {
    problems.iter().any(|p| p.severity == Severity::Error)
}

/// Renders problems for people: errors first, and the totals in the last line.
pub(super) fn text(problems: &[Problem], paint: Paint) -> String {
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by_key(|problem| problem.severity);
    let lines = sorted.into_iter().map(|problem| {
        let severity = match problem.severity {
            Severity::Error => paint.red("error  "),
            Severity::Warning => paint.cyan("warning"),
        };
        let about = paint.bold(&problem.about);
        let Problem { what, remedy, .. } = problem;
        format!("{severity}  {about}: {what}\n         do: {remedy}\n")
    });
    lines.collect::<String>() + &total(problems, paint) + "\n"
}

fn total(problems: &[Problem], paint: Paint) -> String {
    let is_error = |problem: &&Problem| problem.severity == Severity::Error;
    let errors = problems.iter().filter(is_error).count();
    match (errors, problems.len() - errors) {
        (0, 0) => paint.green("no problems"),
        (0, warnings) => count(warnings, "warning"),
        (errors, 0) => count(errors, "error"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_first_and_are_counted() {
        let problems = [
            Problem::warning("a", "is odd", "look"),
            Problem::error("b", "is broken", "fix it"),
        ];
        assert!(any_error(&problems));
        assert_eq!(
            text(&problems, Paint::NONE),
            "error    b: is broken\n         do: fix it\nwarning  a: is odd\n         do: look\n1 error, 1 warning\n"
        );
        assert_eq!(text(&[], Paint::NONE), "no problems\n");
    }
}
