//! The page of `/explain`. The template escapes everything; this prepares what it shows.

use askama::Template;
use slipway_core::explain::report::Report;

use super::super::{
    form::{EXAMPLES, Example, Form, suggestions},
    style::STYLE,
};
use crate::cluster::state::ClusterState;

/// The page.
#[derive(Template)]
#[template(path = "explain.html")]
pub(super) struct ExplainPage<'a> {
    style: &'static str,
    form: &'a Form,
    namespaces: Vec<&'a str>,
    examples: &'static [Example],
    outcome: Outcome<'a>,
}

/// The outcome of a request.
#[derive(Clone, Copy)]
pub(super) enum Outcome<'a> {
    /// No manifest was sent.
    None,
    /// The manifest was refused, with this message.
    Refused(&'a str),
    /// Its pods were decided on.
    Pods(&'a [PodView<'a>]),
}

/// A pod of the manifest.
pub(super) struct PodView<'a> {
    pub(super) report: Report<'a>,
    pub(super) caveat: Option<&'static str>,
    /// The unified diff; empty if nothing changes.
    pub(super) diff: String,
}

impl<'a> ExplainPage<'a> {
    /// Prepares the page: the form as it was sent, and the outcome.
    pub(super) fn new(state: &'a ClusterState, form: &'a Form, outcome: Outcome<'a>) -> Self {
        Self {
            style: STYLE,
            form,
            namespaces: suggestions(state),
            examples: &EXAMPLES,
            outcome,
        }
    }

    /// Returns the title of the browser window.
    fn heading(&self) -> String {
        match self.outcome {
            Outcome::None => "Explain a pod".to_owned(),
            Outcome::Refused(_) => "The manifest was refused".to_owned(),
            Outcome::Pods([pod]) => format!("{}: {}", pod.report.name, pod.report.strategy),
            Outcome::Pods(pods) => format!("{} pods", pods.len()),
        }
    }
}

impl PodView<'_> {
    /// Returns a reason's message as a sentence: with a capital letter and a full stop.
    #[allow(clippy::unused_self, reason = "templates call methods")]
    fn sentence(&self, message: &str) -> String {
        let mut letters = message.chars();
        let first = letters.next().into_iter().flat_map(char::to_uppercase);
        first.chain(letters).chain(['.']).collect()
    }

    /// Returns the lines of the diff, each with its CSS class.
    fn lines(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let lines = self.diff.lines().enumerate();
        lines.map(|(i, line)| {
            let class = match line.as_bytes().first() {
                _ if i < 2 => "file",
                Some(b'@') => "hunk",
                Some(b'+') => "add",
                Some(b'-') => "del",
                _ => "same",
            };
            (class, line)
        })
    }
}
