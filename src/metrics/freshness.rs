//! How old what is known of the cluster may be.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::Watched;

/// How it goes with all watches.
#[derive(Debug)]
pub(super) struct Freshness {
    started: Instant,
    watches: [Watch; Watched::ALL.len()],
}

/// How it goes with a watch.
#[derive(Debug, Default)]
struct Watch {
    /// Whether anybody watches it.
    begun: AtomicBool,
    connected: AtomicBool,
    /// Milliseconds from the start of the process to the last word of the API server.
    heard: AtomicU64,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            watches: Default::default(),
        }
    }
}

impl Freshness {
    /// From now on the resource is to be watched, or no more.
    pub fn set_begun(&self, watched: Watched, begun: bool) {
        if let Some(watch) = self.watches.get(watched as usize) {
            watch.begun.store(begun, Ordering::Relaxed);
        }
    }

    /// The API server said something of the resource.
    pub fn heard(&self, watched: Watched) {
        if let Some(watch) = self.watches.get(watched as usize) {
            watch.heard.store(self.now(), Ordering::Relaxed);
            watch.connected.store(true, Ordering::Relaxed);
        }
    }

    /// The watch of the resource broke, or never began.
    pub fn lost(&self, watched: Watched) {
        if let Some(watch) = self.watches.get(watched as usize) {
            // It may have been silent for days, because nothing changed: it was good until now.
            if watch.connected.swap(false, Ordering::Relaxed) {
                watch.heard.store(self.now(), Ordering::Relaxed);
            }
        }
    }

    /// Of each resource that is watched, how old what is known of it may be: nothing while its watch
    /// is connected.
    pub fn ages(&self) -> impl Iterator<Item = (Watched, Duration)> {
        let all = Watched::ALL.into_iter().zip(&self.watches);
        let begun = all.filter(|(_, watch)| watch.begun.load(Ordering::Relaxed));
        begun.map(|(watched, watch)| {
            let heard = watch.heard.load(Ordering::Relaxed);
            let age = if watch.connected.load(Ordering::Relaxed) {
                Duration::ZERO
            } else {
                Duration::from_millis(self.now().saturating_sub(heard))
            };
            (watched, age)
        })
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
