//! Records, put together: medians, the range, the ratio to plain Docker-in-Docker.

use serde::Serialize;

use super::{
    record::Record,
    strategy::{PLAIN, PLAIN_PULL, Strategy, Task},
};

/// Which jobs of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Jobs {
    /// The only one: nothing outlives a job.
    Each,
    /// The first one on the node.
    First,
    /// Those after it.
    Later,
}

/// A number of one kind, over all rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// The median, divided by that of plain Docker-in-Docker; `None` where that is 0.
    pub ratio: Option<f64>,
}

/// What was measured of a strategy. Times are in seconds, sizes in MB (millions of bytes).
#[derive(Debug, Serialize)]
pub struct Summary {
    pub strategy: &'static str,
    pub about: &'static str,
    pub jobs: Jobs,
    /// How many jobs were measured.
    pub measured: usize,
    pub wall: Figure,
    pub ready: Figure,
    pub cpu: Figure,
    pub peak_memory: Figure,
    pub pull: Option<Figure>,
    pub from_upstream: Figure,
    pub from_mirror: Figure,
    pub disk: Figure,
    /// Hits of all steps, and of the steps that can be hits, in percent.
    pub hits: Option<(f64, f64)>,
    pub driver: String,
}

/// The summaries of all strategies that have records.
pub fn of(strategies: &[Strategy], records: &[Record]) -> Vec<Summary> {
    let rows = strategies.iter().flat_map(|strategy| {
        let kinds: &[Jobs] = if strategy.jobs == 1 {
            &[Jobs::Each]
        } else {
            &[Jobs::First, Jobs::Later]
        };
        kinds.iter().map(move |jobs| (strategy, *jobs))
    });
    rows.filter_map(|(strategy, jobs)| of_one(strategy, jobs, records))
        .collect()
}

fn of_one(strategy: &Strategy, jobs: Jobs, records: &[Record]) -> Option<Summary> {
    let is_of = |record: &&Record| {
        record.strategy == strategy.name && (jobs == Jobs::Later) == (record.job > 1)
    };
    let own: Vec<&Record> = records.iter().filter(is_of).collect();
    let first = own.first()?;
    let plain_name = match strategy.task {
        Task::Pull => PLAIN_PULL,
        _ => PLAIN,
    };
    let plain: Vec<&Record> = records
        .iter()
        .filter(|record| record.strategy == plain_name)
        .collect();
    let figure = |of: &dyn Fn(&Record) -> f64| Figure::of(&own, &plain, of);
    let steps: usize = own.iter().map(|record| record.steps).sum();
    let hits: usize = own.iter().map(|record| record.hits).sum();
    let can_hit: usize = own.iter().map(|record| record.can_hit).sum();
    let is_build = strategy.task != Task::Pull;
    let pulls = own.iter().all(|record| record.pull.is_some());
    Some(Summary {
        strategy: strategy.name,
        about: strategy.about,
        jobs,
        measured: own.len(),
        wall: figure(&|record| record.wall),
        ready: figure(&|record| record.ready),
        cpu: figure(&|record| record.cpu),
        peak_memory: figure(&|record| mb(record.peak_memory)),
        pull: pulls.then(|| figure(&|record| record.pull.unwrap_or_default())),
        from_upstream: figure(&|record| mb(record.upstream_to_pod + record.upstream_to_mirror)),
        from_mirror: figure(&|record| mb(record.mirror_to_pod)),
        disk: figure(&|record| mb(record.disk)),
        hits: is_build.then(|| (percent(hits, steps), percent(hits, can_hit))),
        driver: first.driver.clone(),
    })
}

impl Figure {
    fn of(own: &[&Record], plain: &[&Record], of: &dyn Fn(&Record) -> f64) -> Self {
        let values = sorted(own, of);
        let plain = median(&sorted(plain, of));
        let median = median(&values);
        Self {
            median,
            min: values.first().copied().unwrap_or_default(),
            max: values.last().copied().unwrap_or_default(),
            ratio: (plain > 0.0).then(|| median / plain),
        }
    }
}

fn sorted(records: &[&Record], of: &dyn Fn(&Record) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = records.iter().map(|record| of(record)).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The median of sorted values; 0 of none.
fn median(values: &[f64]) -> f64 {
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[allow(clippy::cast_precision_loss, reason = "numbers of steps are small")]
fn percent(part: usize, all: usize) -> f64 {
    if all == 0 {
        0.0
    } else {
        part as f64 * 100.0 / all as f64
    }
}
