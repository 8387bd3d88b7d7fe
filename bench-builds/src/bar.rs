//! How far the run is: a bar on a terminal, a line a job everywhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{record::Record, strategy::Strategy};

/// How many later jobs take as long as one on a node that has nothing.
const FIRST_JOB: u64 = 10;

/// The bar. Where standard error is no terminal, it shows nothing but the lines.
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar for rows of jobs.
    pub fn new<'s>(rows: impl Iterator<Item = &'s Strategy>) -> Self {
        let length = rows.map(|strategy| (1..=strategy.jobs).map(weight).sum::<u64>());
        let bar = ProgressBar::new(length.sum());
        let template = "[{bar:30}] {percent:>3} %  {elapsed} gone, {eta} to go  {msg}";
        let style = ProgressStyle::with_template(template).unwrap();
        bar.set_style(style.progress_chars("=> "));
        // The time goes on while a job runs.
        bar.enable_steady_tick(Duration::from_secs(1));
        Self { bar }
    }

    /// A job begins.
    pub fn begins(&self, round: usize, strategy: &Strategy, job: usize) {
        let Strategy { name, jobs, .. } = strategy;
        let words = format!("round {round}: {name}, job {job} of {jobs}");
        self.bar.set_message(words);
    }

    /// A job has ended: its line stays, above the bar.
    pub fn ended(&self, record: &Record) {
        let Record {
            round,
            strategy,
            job,
            wall,
            cpu,
            hits,
            steps,
            ..
        } = record;
        self.aside(|| {
            eprintln!(
                "round {round}, {strategy}, job {job}: {wall:.1} s, {cpu:.1} CPU s, {hits} of {steps} steps were there"
            );
        });
        self.bar.inc(weight(*job));
    }

    /// Does what may write, while no bar is in the way.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn weight(job: usize) -> u64 {
    if job == 1 { FIRST_JOB } else { 1 }
}
