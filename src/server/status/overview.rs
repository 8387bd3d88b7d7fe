//! The overview, `GET /`. The template escapes everything; this prepares what it shows.

use std::collections::BTreeSet;

use askama::Template;
use slipway_core::decide::Strategy;
use strum::VariantNames;

use super::{
    drawing::{Share, Tick, bar, grid, strip},
    form::{EXAMPLES, Example, Form},
    report::Status,
    sections::DecisionStatus,
    style::STYLE,
    words::duration,
};

/// The page.
#[derive(Template)]
#[template(path = "overview.html")]
pub(super) struct Overview<'s> {
    style: &'static str,
    status: &'s Status,
    filter: Filter,
    decisions: Vec<&'s DecisionStatus>,
    strip: Vec<Tick>,
    grid: [f64; 4],
    strategies: Vec<&'static str>,
    /// The namespaces of all decisions.
    decided_in: BTreeSet<&'s str>,
    summary: Summary,
    form: Form,
    namespaces: Vec<&'s str>,
    examples: &'static [Example],
}

/// The decisions to show; an empty field matches all.
#[derive(Debug, Default)]
struct Filter {
    strategy: String,
    namespace: String,
}

/// The numbers in the cards at the top.
struct Summary {
    strategies: Vec<Share>,
    runtimes: Vec<Share>,
    median: String,
    slowest: String,
}

impl<'s> Overview<'s> {
    /// Prepares the page, with the decisions that the query selects.
    pub(super) fn new(status: &'s Status, query: Option<&str>) -> Self {
        let filter = Filter::parse(query.unwrap_or_default());
        let all = status.decisions.iter();
        let opted_in = status.namespaces.iter().flat_map(|known| &known.opted_in);
        Self {
            style: STYLE,
            decided_in: all.clone().map(|d| d.namespace.as_str()).collect(),
            decisions: all.filter(|decision| filter.admits(decision)).collect(),
            strip: strip(&status.decisions),
            grid: grid(),
            strategies: Strategy::VARIANTS.to_vec(),
            summary: Summary::of(status),
            form: Form::default(),
            namespaces: opted_in.map(|namespace| namespace.name.as_str()).collect(),
            examples: &EXAMPLES,
            filter,
            status,
        }
    }
}

impl Filter {
    fn parse(query: &str) -> Self {
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
        let decisions = status.decisions.iter();
        let durations = decisions.clone().map(|d| d.duration_microseconds);
        let mut durations: Vec<u64> = durations.collect();
        durations.sort_unstable();
        let strategies = Strategy::VARIANTS.iter().map(|name| {
            let count = decisions.clone().filter(|d| d.strategy == *name).count();
            (*name, count)
        });
        let runtimes = status.nodes.iter().flat_map(|nodes| &nodes.runtimes);
        let median = durations.get(durations.len() / 2);
        Self {
            strategies: bar(strategies),
            runtimes: bar(runtimes.map(|count| (count.runtime, count.nodes))),
            median: duration(median.copied().unwrap_or_default()),
            slowest: duration(durations.last().copied().unwrap_or_default()),
        }
    }
}
