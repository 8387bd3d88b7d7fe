//! One candidate: what it knows about the Lease, and what it does next.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};

use super::{Clock, Timings};
use crate::cluster::call::{CallError, within};

/// The field manager of all writes.
const FIELD_MANAGER: &str = "slipway-leader";
/// The least time that a call gets. With less, a leader close to its deadline could not renew at all.
const MIN_CALL_TIMEOUT: Duration = Duration::from_millis(100);

/// The content of the Lease, and when it last changed.
#[derive(Debug)]
struct Observed {
    spec: LeaseSpec,
    /// When this content was first seen, on the candidate's own clock.
    at: Instant,
}

/// A replica that competes for the Lease.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
    timings: Timings,
    clock: Clock,
    observed: Option<Observed>,
    /// When the last successful renewal *began*; `None` for a follower.
    renewed_at: Option<Instant>,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.name)
            .field("identity", &self.identity)
            .field("renewed_at", &self.renewed_at)
            .finish_non_exhaustive()
    }
}

impl Candidate {
    /// Creates a candidate with the default timings and the machine's clock.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            timings: Timings::default(),
            clock: Arc::new(Instant::now),
            observed: None,
            renewed_at: None,
        }
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the name of the Lease.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether it leads now.
    #[must_use]
    pub fn leads(&self) -> bool {
        !self.time_left().is_zero()
    }

    /// Returns how long it leads if it cannot renew again.
    fn time_left(&self) -> Duration {
        let Some(renewed_at) = self.renewed_at else {
            return Duration::ZERO;
        };
        let since = (self.clock)().saturating_duration_since(renewed_at);
        self.timings.renew_deadline.saturating_sub(since)
    }

    /// Returns how long to wait before the next tick, for a `jitter` between 0 and 1. A leader waits
    /// for the retry period, but never beyond its deadline; a follower waits up to 2.2 times as long.
    pub(super) fn pause(&self, jitter: f64) -> Duration {
        if self.leads() {
            return self.timings.retry.min(self.time_left());
        }
        self.timings.retry.mul_f64(1.0 + jitter * 1.2)
    }

    /// Reads the Lease, and acquires or renews it if possible.
    ///
    /// # Errors
    /// When a call fails. A leader keeps leading until its deadline.
    pub async fn tick(&mut self) -> Result<(), CallError> {
        let began = (self.clock)();
        let spec = match self.read().await? {
            None => {
                let spec = self.held(None);
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.name.clone()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(spec),
                };
                let parameters = parameters();
                let created = self.leases.create(&parameters, &lease);
                self.call("create the Lease", created).await?.spec
            }
            Some(lease) => {
                self.observe(lease.spec.clone().unwrap_or_default());
                if !self.may_acquire() {
                    self.renewed_at = None;
                    return Ok(());
                }
                self.update(lease).await?.spec
            }
        };
        self.observe(spec.unwrap_or_default());
        self.renewed_at = Some(began);
        Ok(())
    }

    /// Stops leading, and releases the Lease. Returns whether this candidate held it.
    ///
    /// # Errors
    /// When a call fails. The candidate no longer leads in any case.
    pub async fn release(&mut self) -> Result<bool, CallError> {
        self.renewed_at = None;
        let Some(mut lease) = self.read().await? else {
            return Ok(false);
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return Ok(false);
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        let parameters = parameters();
        let replaced = self.leases.replace(&self.name, &parameters, &lease);
        self.call("update the Lease", replaced).await?;
        Ok(true)
    }

    async fn read(&self) -> Result<Option<Lease>, CallError> {
        self.call("read the Lease", self.leases.get_opt(&self.name))
            .await
    }

    async fn update(&self, mut lease: Lease) -> Result<Lease, CallError> {
        lease.spec = Some(self.held(lease.spec));
        let parameters = parameters();
        // The Lease carries the version that was read: if two candidates acquire it at once, one of
        // them gets a conflict.
        let replaced = self.leases.replace(&self.name, &parameters, &lease);
        self.call("update the Lease", replaced).await
    }

    /// Notes the content of the Lease, and the time if it has changed.
    fn observe(&mut self, spec: LeaseSpec) {
        if self.observed.as_ref().is_some_and(|seen| seen.spec == spec) {
            return;
        }
        let at = (self.clock)();
        self.observed = Some(Observed { spec, at });
    }

    /// Returns whether the Lease is free, already held by this candidate, or expired.
    fn may_acquire(&self) -> bool {
        let Some(Observed { spec, at }) = &self.observed else {
            return false;
        };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return true;
        }
        let lease = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.timings.lease, Duration::from_secs);
        (self.clock)().saturating_duration_since(*at) > lease
    }

    /// Returns the Lease as held by this candidate from now on. The times in it only inform people:
    /// no candidate decides by them.
    fn held(&self, old: Option<LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let mut spec = old.unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            let transitions = spec.lease_transitions.map_or(0, |n| n.saturating_add(1));
            spec.lease_transitions = Some(transitions);
            spec.acquire_time = Some(now.clone());
            spec.holder_identity = Some(self.identity.clone());
        }
        spec.renew_time = Some(now);
        spec.lease_duration_seconds = i32::try_from(self.timings.lease.as_secs()).ok();
        spec
    }

    /// Makes a call that ends no later than the deadline, so that a leader learns in time that it no
    /// longer leads.
    async fn call<T>(
        &self,
        action: &'static str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        let limit = if self.renewed_at.is_some() {
            self.time_left().max(MIN_CALL_TIMEOUT)
        } else {
            self.timings.renew_deadline
        };
        within(limit, action, &self.name, call).await
    }
}

fn parameters() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}
