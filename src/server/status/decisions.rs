//! The latest decisions of this replica, kept in memory for the status page.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use slipway_core::admission::Record;

/// The number of decisions that are kept.
pub(crate) const KEPT: u64 = 200;

/// A ring of the latest decisions. Each request takes a number and the lock of one slot, which it
/// shares only with the request 200 numbers earlier and with readers of the page.
#[derive(Debug)]
pub(crate) struct Decisions {
    next: AtomicU64,
    slots: Box<[Mutex<Option<Decided>>]>,
}

/// A decision.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    /// Counted from 0.
    pub(crate) number: u64,
    /// When the request was answered.
    pub(crate) at: SystemTime,
    /// The time from the head of the request to the answer.
    pub(crate) took: Duration,
    /// The decision, without its `problem`, which may quote the pod.
    pub(crate) record: Record,
}

impl Default for Decisions {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(0),
            slots: (0..KEPT).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Decisions {
    /// Keeps a decision in place of the oldest.
    pub(crate) fn put(&self, record: Record, took: Duration) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let index = usize::try_from(number % KEPT).unwrap_or_default();
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let decided = Decided {
            number,
            at: SystemTime::now(),
            took,
            record: Record {
                problem: None,
                ..record
            },
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        // This thread was overtaken by 200 requests.
        if slot.as_ref().is_some_and(|held| held.number > number) {
            return;
        }
        let oldest = slot.replace(decided);
        drop(slot);
        drop(oldest);
    }

    /// Returns the number of decisions since the start.
    pub(crate) fn total(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Returns the decisions that are kept, newest first.
    pub(crate) fn latest(&self) -> Vec<Decided> {
        let held = |slot: &Mutex<Option<Decided>>| {
            slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        let mut decisions: Vec<Decided> = self.slots.iter().filter_map(held).collect();
        decisions.sort_unstable_by_key(|decided| std::cmp::Reverse(decided.number));
        decisions
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use slipway_core::decide::Strategy;

    fn record(pod: &str) -> Record {
        Record {
            uid: "u".to_owned(),
            namespace: "ci".to_owned(),
            pod: pod.to_owned(),
            dry_run: false,
            system: None,
            profile: None,
            strategy: Strategy::None,
            reason: "not-a-runner",
            reasons: vec!["not-a-runner"],
            operations: 0,
            problem: Some("env TOKEN=hunter2".to_owned()),
        }
    }

    #[test]
    fn the_last_two_hundred_are_kept_newest_first() {
        let decisions = Decisions::default();
        for i in 0..KEPT + 50 {
            decisions.put(record(&i.to_string()), Duration::from_micros(i));
        }
        let latest = decisions.latest();
        assert_eq!(latest.len(), 200);
        assert_eq!(latest[0].record.pod, "249");
        assert_eq!(latest[199].record.pod, "50");
        assert_eq!(decisions.total(), 250);
    }

    #[test]
    fn problems_are_dropped() {
        let decisions = Decisions::default();
        decisions.put(record("p"), Duration::ZERO);
        let latest = decisions.latest();
        assert_eq!(latest[0].record.problem, None);
    }

    #[test]
    fn concurrent_decisions_are_not_lost() {
        let decisions = Decisions::default();
        thread::scope(|scope| {
            for thread in 0..4 {
                let decisions = &decisions;
                scope.spawn(move || {
                    for i in 0..500 {
                        decisions.put(record(&format!("{thread}-{i}")), Duration::ZERO);
                    }
                });
            }
        });
        let numbers: Vec<u64> = decisions.latest().iter().map(|d| d.number).collect();
        let expected: Vec<u64> = (1800..2000).rev().collect();
        assert_eq!(numbers, expected);
    }
}
