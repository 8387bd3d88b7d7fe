//! One candidate: what it knows of the Lease, and its next move.

use std::{
    fmt,
    future::Future,
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

/// What Leases are written as.
const FIELD_MANAGER: &str = "slipway-leader";
/// Nothing is asked for less, or an almost ended deadline could not be met at all.
const SHORTEST_CALL: Duration = Duration::from_millis(100);

/// Why the Lease could be neither taken nor renewed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server refuses, or cannot be reached.
    #[error("failed to {action} the lease {name}: {source}")]
    Api {
        /// read, create or update.
        action: &'static str,
        /// Of the Lease.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// It does not answer.
    #[error("failed to {action} the lease {name}: no answer within {} ms", limit.as_millis())]
    Timeout {
        /// read, create or update.
        action: &'static str,
        /// Of the Lease.
        name: String,
        /// How long it was given.
        limit: Duration,
    },
}

/// The Lease as it was last seen to change.
#[derive(Debug)]
struct Observed {
    spec: LeaseSpec,
    /// By the own clock, after the answer was there.
    at: Instant,
}

/// A replica that wants to lead.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
    timings: Timings,
    clock: Clock,
    observed: Option<Observed>,
    /// When the last successful renewal *began*, while it leads.
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
    /// With the usual timings and the machine's clock.
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

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The name of the Lease.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it leads now.
    #[must_use]
    pub fn leads(&self) -> bool {
        !self.time_left().is_zero()
    }

    /// How long it still leads without another renewal.
    fn time_left(&self) -> Duration {
        let Some(renewed_at) = self.renewed_at else {
            return Duration::ZERO;
        };
        let since = (self.clock)().saturating_duration_since(renewed_at);
        self.timings.renew_deadline.saturating_sub(since)
    }

    /// How long to wait until the next tick; `jitter` is from 0 to 1. A leader never waits beyond
    /// its deadline, others wait up to 2.2 times as long.
    pub(super) fn pause(&self, jitter: f64) -> Duration {
        if self.leads() {
            return self.timings.retry.min(self.time_left());
        }
        self.timings.retry.mul_f64(1.0 + jitter * 1.2)
    }

    /// Looks at the Lease, and takes or renews it if it may.
    ///
    /// # Errors
    /// When that fails. A leader still leads until its deadline.
    pub async fn tick(&mut self) -> Result<(), LeaseError> {
        let began = (self.clock)();
        let spec = match self.read().await? {
            None => {
                let spec = self.claim(None);
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.name.clone()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(spec),
                };
                let parameters = parameters();
                let created = self.leases.create(&parameters, &lease);
                self.within("create", created).await?.spec
            }
            Some(lease) => {
                self.observe(lease.spec.clone().unwrap_or_default());
                if !self.may_take() {
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

    /// Gives the Lease back, if it is held. Says whether it was.
    ///
    /// # Errors
    /// When that fails. It does not lead any more in any case.
    pub async fn release(&mut self) -> Result<bool, LeaseError> {
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
        self.within("update", replaced).await?;
        Ok(true)
    }

    async fn read(&self) -> Result<Option<Lease>, LeaseError> {
        self.within("read", self.leases.get_opt(&self.name)).await
    }

    async fn update(&self, mut lease: Lease) -> Result<Lease, LeaseError> {
        lease.spec = Some(self.claim(lease.spec));
        let parameters = parameters();
        // It carries the version that was read: of two who take it at once, one gets a conflict.
        let replaced = self.leases.replace(&self.name, &parameters, &lease);
        self.within("update", replaced).await
    }

    fn observe(&mut self, spec: LeaseSpec) {
        if self.observed.as_ref().is_some_and(|seen| seen.spec == spec) {
            return;
        }
        let at = (self.clock)();
        self.observed = Some(Observed { spec, at });
    }

    /// Whether the Lease is free, its own, or has not been renewed for as long as it says.
    fn may_take(&self) -> bool {
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

    /// The Lease as this candidate's. Its times are for people: nobody decides by them.
    fn claim(&self, old: Option<LeaseSpec>) -> LeaseSpec {
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

    /// A call that ends before the deadline does: a leader must know in time that it is none.
    async fn within<T>(
        &self,
        action: &'static str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, LeaseError> {
        let limit = if self.renewed_at.is_some() {
            self.time_left().max(SHORTEST_CALL)
        } else {
            self.timings.renew_deadline
        };
        let name = self.name.clone();
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(LeaseError::Api {
                action,
                name,
                source: Box::new(source),
            }),
            Err(_) => Err(LeaseError::Timeout {
                action,
                name,
                limit,
            }),
        }
    }
}

fn parameters() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}
