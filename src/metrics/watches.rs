//! Watches of the API server: their errors, and the age of what they brought.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use strum::{EnumCount, EnumIter, IntoEnumIterator, IntoStaticStr};

use super::register;

/// A watched resource, by its name in the Kubernetes API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub(crate) enum Watched {
    /// Node objects.
    Nodes,
    /// Namespace objects.
    Namespaces,
    /// LimitRange objects.
    LimitRanges,
    /// ResourceQuota objects.
    ResourceQuotas,
    /// The claims of pools.
    #[strum(serialize = "persistentvolumeclaims")]
    Claims,
    /// The pods that hold a lease.
    Pods,
}

impl Watched {
    /// The resources that are always watched; the others only where the policy has pools.
    pub(crate) const ALWAYS: [Self; 4] = [
        Self::Nodes,
        Self::Namespaces,
        Self::LimitRanges,
        Self::ResourceQuotas,
    ];
}

/// Metrics of the watches.
pub(crate) struct WatchMetrics {
    started: Instant,
    watches: [Watch; Watched::COUNT],
    snapshot_age: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    errors: Family<ResourceLabels, Counter>,
}

/// The state of one watch.
#[derive(Debug, Default)]
struct Watch {
    /// Whether the resource is to be watched.
    wanted: AtomicBool,
    connected: AtomicBool,
    /// When the API server last said anything: milliseconds since the process started.
    heard: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    resource: &'static str,
}

impl From<Watched> for ResourceLabels {
    fn from(watched: Watched) -> Self {
        Self {
            resource: watched.into_str(),
        }
    }
}

impl WatchMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            started: Instant::now(),
            watches: Default::default(),
            snapshot_age: register(
                registry,
                "snapshot_age_seconds",
                "0 while a resource is watched; otherwise the time since the API server last said anything about it",
                Family::default(),
            ),
            errors: register(
                registry,
                "watch_errors",
                "Lists and watches that failed and were retried, by resource",
                Family::default(),
            ),
        };
        for watched in Watched::ALWAYS {
            metrics.errors(watched);
            metrics.begin(watched);
        }
        metrics
    }

    /// Reports the resource's age from now on.
    pub(crate) fn begin(&self, watched: Watched) {
        self.watch(watched, |watch| {
            watch.wanted.store(true, Ordering::Relaxed);
        });
    }

    /// Stops reporting the resource's age: it is no longer watched.
    pub(crate) fn end(&self, watched: Watched) {
        self.watch(watched, |watch| {
            watch.wanted.store(false, Ordering::Relaxed);
        });
        self.snapshot_age.remove(&watched.into());
    }

    /// Notes that the API server answered: the watch is connected.
    pub(crate) fn heard(&self, watched: Watched) {
        let now = self.now();
        self.watch(watched, |watch| {
            watch.heard.store(now, Ordering::Relaxed);
            watch.connected.store(true, Ordering::Relaxed);
        });
    }

    /// Notes that the watch broke or could not start.
    pub(crate) fn lost(&self, watched: Watched) {
        self.errors(watched).inc();
        let now = self.now();
        self.watch(watched, |watch| {
            // Silence for days may only mean that nothing changed: the state was current until now.
            if watch.connected.swap(false, Ordering::Relaxed) {
                watch.heard.store(now, Ordering::Relaxed);
            }
        });
    }

    /// Returns how old the state of each watched resource may be: zero while its watch is
    /// connected.
    pub(crate) fn ages(&self) -> impl Iterator<Item = (Watched, Duration)> {
        let all = Watched::iter().zip(&self.watches);
        let wanted = all.filter(|(_, watch)| watch.wanted.load(Ordering::Relaxed));
        wanted.map(|(watched, watch)| {
            let heard = watch.heard.load(Ordering::Relaxed);
            let age = if watch.connected.load(Ordering::Relaxed) {
                Duration::ZERO
            } else {
                Duration::from_millis(self.now().saturating_sub(heard))
            };
            (watched, age)
        })
    }

    pub(super) fn refresh(&self) {
        for (watched, age) in self.ages() {
            self.snapshot_age
                .get_or_create(&watched.into())
                .set(age.as_secs_f64());
        }
    }

    fn errors(&self, watched: Watched) -> Counter {
        self.errors.get_or_create_owned(&watched.into())
    }

    fn watch(&self, watched: Watched, change: impl FnOnce(&Watch)) {
        if let Some(watch) = self.watches.get(watched as usize) {
            change(watch);
        }
    }

    /// Returns the milliseconds since the process started.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
