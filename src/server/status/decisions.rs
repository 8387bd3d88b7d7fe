//! The last decisions of this replica, kept in memory for the status page.

use std::{
    iter,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use slipway_core::admission::Record;

/// How many are kept.
pub(crate) const KEPT: u64 = 200;
/// Longer names are cut: the longest that Kubernetes has is 253 characters, but a webhook is asked
/// before names are validated.
const MAX_NAME_BYTES: usize = 256;

/// A ring of the last decisions. A request takes a number and a lock that it shares only with a
/// request 200 numbers before it, and with whoever looks at the page at that moment.
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
    /// When it was answered.
    pub(crate) at: SystemTime,
    /// How long the answer took, from the head of the request.
    pub(crate) took: Duration,
    /// What was decided. Its `problem` is left out: it may quote the pod.
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
    /// Keeps a decision, in the place of the oldest.
    pub(crate) fn put(&self, record: Record, took: Duration) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let place = usize::try_from(number % KEPT).unwrap_or_default();
        let Some(slot) = self.slots.get(place) else {
            return;
        };
        let decided = Decided {
            number,
            at: SystemTime::now(),
            took,
            record: bounded(record),
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        // A thread that was held up for 200 requests is late.
        if slot.as_ref().is_some_and(|held| held.number > number) {
            return;
        }
        let oldest = slot.replace(decided);
        drop(slot);
        drop(oldest);
    }

    /// How many there were since the start.
    pub(crate) fn total(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Those that are kept, newest first.
    pub(crate) fn latest(&self) -> Vec<Decided> {
        let held = |slot: &Mutex<Option<Decided>>| {
            slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        let mut decisions: Vec<Decided> = self.slots.iter().filter_map(held).collect();
        decisions.sort_unstable_by_key(|decided| std::cmp::Reverse(decided.number));
        decisions
    }
}

/// What comes from strangers, cut to what Kubernetes admits.
fn bounded(mut record: Record) -> Record {
    record.problem = None;
    let names = iter::once(&mut record.uid).chain([&mut record.namespace, &mut record.pod]);
    for name in names.filter(|name| name.len() > MAX_NAME_BYTES) {
        let mut end = MAX_NAME_BYTES;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        name.shrink_to_fit();
    }
    record
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
    fn what_a_request_could_blow_up_or_quote_is_not_kept() {
        let decisions = Decisions::default();
        decisions.put(record(&"\u{e9}".repeat(1 << 20)), Duration::ZERO);
        let latest = decisions.latest();
        assert_eq!(latest[0].record.pod, "\u{e9}".repeat(128));
        assert_eq!(latest[0].record.problem, None);
    }

    #[test]
    fn threads_that_decide_at_once_lose_nothing() {
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
