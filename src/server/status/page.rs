//! The page as people see it. The templates escape everything; this prepares what they show.

use std::collections::BTreeSet;

use askama::Template;
use slipway_core::{decide::Strategy, explain::report::Report};

use super::{
    explain::{EXAMPLES, Example},
    report::{DecisionStatus, Status},
    words::in_words,
};
use crate::cluster::state::ClusterState;

/// The style of all pages.
pub(super) const STYLE: &str = include_str!("style.css");

/// The strip of durations, in the units of its view box: room for as many decisions as are kept.
const STRIP_WIDTH: f64 = 1000.0;
const STRIP_HEIGHT: f64 = 64.0;
const STRIP_STEP: f64 = STRIP_WIDTH / 200.0;
/// The shortest and the longest duration of the strip, in microseconds; the scale is logarithmic.
const STRIP_RANGE: (f64, f64) = (10.0, 1_000_000.0);

/// The names of all strategies.
const STRATEGIES: [&str; 4] = [
    Strategy::Containerd.as_str(),
    Strategy::DockerSocket.as_str(),
    Strategy::Dind.as_str(),
    Strategy::None.as_str(),
];

/// `GET /`.
#[derive(Template)]
#[template(path = "overview.html")]
pub(super) struct Overview<'s> {
    style: &'static str,
    status: &'s Status,
    filter: Filter,
    decisions: Vec<&'s DecisionStatus>,
    strip: Vec<Tick>,
    /// Where the lines of the strip are.
    grid: [f64; 4],
    strategies: [&'static str; 4],
    /// The namespaces of all decisions.
    decided_in: BTreeSet<&'s str>,
    summary: Summary,
    form: Form,
    namespaces: Vec<&'s str>,
    examples: &'static [Example],
}

/// Which decisions are shown.
#[derive(Debug, Default)]
struct Filter {
    strategy: String,
    namespace: String,
}

/// One decision of the strip.
struct Tick {
    x: f64,
    y: f64,
    height: f64,
    strategy: &'static str,
}

/// What the cards at the top say in numbers.
struct Summary {
    strategies: Vec<Share>,
    runtimes: Vec<Share>,
    median: String,
    slowest: String,
}

/// A part of a whole, as a stretch of a bar of 100 units.
struct Share {
    name: &'static str,
    count: usize,
    x: f64,
    width: f64,
}

/// `GET /explain` and `POST /explain`.
#[derive(Template)]
#[template(path = "explain.html")]
pub(super) struct ExplainPage<'a> {
    style: &'static str,
    form: &'a Form,
    namespaces: Vec<&'a str>,
    examples: &'static [Example],
    outcome: Outcome<'a>,
}

/// What was sent.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) manifest: String,
    /// Empty: the manifest's own.
    pub(super) namespace: String,
}

/// What came of it.
#[derive(Clone, Copy)]
pub(super) enum Outcome<'a> {
    /// Nothing was sent.
    None,
    Refused(&'a str),
    Pods(&'a [PodView<'a>]),
}

/// A pod of the manifest.
pub(super) struct PodView<'a> {
    pub(super) report: Report<'a>,
    pub(super) caveat: Option<&'static str>,
    /// Empty when nothing changes.
    pub(super) diff: String,
}

impl PodView<'_> {
    /// The sentence that says why, beginning as sentences do.
    #[allow(clippy::unused_self, reason = "templates call methods")]
    fn because(&self, message: &str) -> String {
        let mut letters = message.chars();
        let first = letters.next().into_iter().flat_map(char::to_uppercase);
        first.chain(letters).chain(['.']).collect()
    }

    /// The lines of the diff with what each is.
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

impl<'s> Overview<'s> {
    /// The page, with the decisions that the query asks for.
    pub(super) fn new(status: &'s Status, query: Option<&str>) -> Self {
        let filter = Filter::new(query.unwrap_or_default());
        let all = status.decisions.iter();
        let decided_in: BTreeSet<&str> = all.clone().map(|d| d.namespace.as_str()).collect();
        let namespaces = status.namespaces.iter().flat_map(|known| &known.opted_in);
        Self {
            style: STYLE,
            decisions: all.filter(|decision| filter.admits(decision)).collect(),
            strip: strip(&status.decisions),
            grid: [100.0, 1e3, 1e4, 1e5].map(|us| STRIP_HEIGHT - height(us)),
            strategies: STRATEGIES,
            decided_in,
            summary: Summary::of(status),
            form: Form::default(),
            namespaces: namespaces
                .map(|namespace| namespace.name.as_str())
                .collect(),
            examples: &EXAMPLES,
            filter,
            status,
        }
    }
}

impl Filter {
    fn new(query: &str) -> Self {
        let mut filter = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "strategy" => filter.strategy = value.into_owned(),
                "namespace" => filter.namespace = value.into_owned(),
                _ => {}
            }
        }
        filter
    }

    fn is_on(&self) -> bool {
        !self.strategy.is_empty() || !self.namespace.is_empty()
    }

    fn admits(&self, decision: &DecisionStatus) -> bool {
        let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        is(&self.strategy, decision.strategy) && is(&self.namespace, &decision.namespace)
    }
}

impl Summary {
    fn of(status: &Status) -> Self {
        let mut took: Vec<u64> = status
            .decisions
            .iter()
            .map(|d| d.duration_microseconds)
            .collect();
        took.sort_unstable();
        let strategies = STRATEGIES.map(|name| {
            let count = status
                .decisions
                .iter()
                .filter(|d| d.strategy == name)
                .count();
            (name, count)
        });
        let runtimes = status.nodes.iter().flat_map(|nodes| &nodes.runtimes);
        Self {
            strategies: shares(strategies),
            runtimes: shares(runtimes.map(|count| (count.runtime, count.nodes))),
            median: in_words(took.get(took.len() / 2).copied().unwrap_or_default()),
            slowest: in_words(took.last().copied().unwrap_or_default()),
        }
    }
}

/// The parts that there are, side by side.
fn shares(counts: impl IntoIterator<Item = (&'static str, usize)>) -> Vec<Share> {
    let counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    let whole: usize = counts.iter().map(|(_, count)| count).sum();
    let mut x = 0.0;
    let share = |(name, count): (&'static str, usize)| {
        let width = 100.0 * float(count) / float(whole);
        let share = Share {
            name,
            count,
            x,
            width,
        };
        x += width;
        share
    };
    counts.into_iter().map(share).collect()
}

/// The newest on the right.
fn strip(decisions: &[DecisionStatus]) -> Vec<Tick> {
    let ticks = decisions.iter().enumerate();
    ticks
        .map(|(i, decision)| {
            let height = height(float(decision.duration_microseconds));
            Tick {
                x: STRIP_WIDTH - STRIP_STEP * float(i + 1),
                y: STRIP_HEIGHT - height,
                height,
                strategy: decision.strategy,
            }
        })
        .collect()
}

/// The height of a duration in microseconds.
fn height(duration: f64) -> f64 {
    let (shortest, longest) = STRIP_RANGE;
    let part =
        (duration.clamp(shortest, longest) / shortest).log10() / (longest / shortest).log10();
    (STRIP_HEIGHT * part).max(1.0).round()
}

/// For drawing: what a float cannot hold exactly is far beyond any drawing.
fn float(number: impl TryInto<u32>) -> f64 {
    number.try_into().map_or(f64::from(u32::MAX), f64::from)
}

impl<'a> ExplainPage<'a> {
    /// What the window is called.
    fn heading(&self) -> String {
        match self.outcome {
            Outcome::None => "Explain a pod".to_owned(),
            Outcome::Refused(_) => "The manifest cannot be read".to_owned(),
            Outcome::Pods([pod]) => format!("{}: {}", pod.report.name, pod.report.strategy),
            Outcome::Pods(pods) => format!("{} pods", pods.len()),
        }
    }

    /// The form as it was sent, and what came of it.
    pub(super) fn new(state: &'a ClusterState, form: &'a Form, outcome: Outcome<'a>) -> Self {
        let all = state.namespaces.iter().flat_map(|known| known.iter());
        let opted_in = all.filter(|namespace| namespace.is_enabled());
        let mut namespaces: Vec<&str> = opted_in.map(|n| n.name.as_str()).collect();
        namespaces.sort_unstable();
        Self {
            style: STYLE,
            form,
            namespaces,
            examples: &EXAMPLES,
            outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_bar_fill_it() {
        let bar = shares([("dind", 3), ("none", 0), ("containerd", 1)]);
        let ends: Vec<f64> = bar.iter().map(|share| share.x + share.width).collect();
        assert_eq!(ends, [75.0, 100.0]);
        assert!(shares([("dind", 0)]).is_empty());
    }

    #[test]
    fn bars_grow_with_the_logarithm_and_stay_in_the_strip() {
        assert!(height(0.0) >= 1.0);
        assert!(height(100.0) < height(1_000.0));
        assert!(height(1e12) <= STRIP_HEIGHT);
    }
}
