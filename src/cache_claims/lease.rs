//! The lease in an admission request: one write, by the version that was looked at.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{api::core::v1::PersistentVolumeClaim, jiff::Timestamp};
use kube::{
    Api, Client, Error,
    api::{Patch, PatchParams},
};
use slipway_core::{
    cache::claims::{Claim, ClaimRequest, LeaseResult},
    reason::{PoolFailure, Reason},
};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::{FIELD_MANAGER, claim_of, watch::edit};
use crate::{
    cluster::state::LiveState,
    metrics::{LeaseOutcome, Metrics},
};

/// A lease takes no more of a request's time, unless another limit is given.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is left of a request's time for its answer.
const RESERVE: Duration = Duration::from_millis(200);
/// Claims that others took in the meantime, before the fallback.
const MAX_ATTEMPTS: usize = 6;
/// Versions that were tried are remembered only to spare writes that are bound to fail.
const MAX_REMEMBERED: usize = 4096;

/// A claim's namespace and name.
type Key = (String, String);

/// Leases claims to the pods of one replica's requests.
pub struct Leaser {
    client: Client,
    state: Arc<LiveState>,
    metrics: Arc<Metrics>,
    /// The version of each claim that one of our requests has tried or is trying: two of our own
    /// never race for one, and one that is out of date is not tried again.
    tried: Mutex<HashMap<Key, String>>,
    patience: Duration,
}

impl fmt::Debug for Leaser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaser").finish_non_exhaustive()
    }
}

impl Leaser {
    /// Leases with this client, from the claims in the cluster state.
    #[must_use]
    pub fn new(client: Client, state: Arc<LiveState>, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            state,
            metrics,
            tried: Mutex::default(),
            patience: PATIENCE,
        }
    }

    /// Takes up to so much of a request's time for a lease, instead of a second.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Leases the best claim that can be had before the deadline. Never fails: a pod without a
    /// claim gets its fallback, with a reason.
    pub async fn lease(&self, request: &ClaimRequest, deadline: Instant) -> LeaseResult {
        let begin = Instant::now();
        let until = (begin + self.patience).min(deadline.checked_sub(RESERVE).unwrap_or(begin));
        let claim = self.try_candidates(request, until).await;
        let (outcome, result) = match claim {
            Ok(claim) => leased(request, &claim),
            Err(refusal) => (refusal, LeaseResult::Refused(reason(refusal))),
        };
        self.metrics.pools.count_lease(outcome, begin.elapsed());
        result
    }

    async fn try_candidates(
        &self,
        request: &ClaimRequest,
        until: Instant,
    ) -> Result<Claim, LeaseOutcome> {
        let candidates = request.candidates.as_ref().ok_or(LeaseOutcome::Unknown)?;
        let mut attempts = 0;
        for claim in candidates {
            if attempts == MAX_ATTEMPTS {
                return Err(LeaseOutcome::Contended);
            }
            if !self.begin(claim) {
                continue;
            }
            attempts += 1;
            match timeout_at(until, self.write(request, claim)).await {
                Ok(Ok(())) => return Ok(Claim::clone(claim)),
                Ok(Err(Error::Api(status))) if matches!(status.code, 404 | 409) => {
                    debug!(claim = claim.name, "somebody else changed the claim");
                }
                Ok(Err(error)) => {
                    self.give_up(claim);
                    warn!(claim = claim.name, namespace = claim.namespace, %error, "failed to lease a claim");
                    return Err(LeaseOutcome::Failed);
                }
                // Whether it was written is not known. If it was, the controller finds no pod for
                // it, and the next try finds another version.
                Err(_) => {
                    self.give_up(claim);
                    warn!(
                        claim = claim.name,
                        namespace = claim.namespace,
                        "no answer in time to the lease of a claim"
                    );
                    return Err(LeaseOutcome::Timeout);
                }
            }
        }
        match attempts {
            0 => Err(LeaseOutcome::Exhausted),
            _ => Err(LeaseOutcome::Contended),
        }
    }

    async fn write(&self, request: &ClaimRequest, claim: &Claim) -> Result<(), Error> {
        let patch = claim.lease_patch(&request.lease, &request.key, Timestamp::now());
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &request.namespace);
        let written = api
            .patch(&claim.name, &parameters, &Patch::Merge(patch))
            .await?;
        // The next request need not wait for the watch.
        if let Some(written) = claim_of(&written) {
            edit(&self.state, |claims| {
                claims.apply_write(&claim.version, written.clone());
            });
        }
        Ok(())
    }

    /// Whether this version of the claim is still to be tried; if so, it is by the caller.
    fn begin(&self, claim: &Claim) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.len() >= MAX_REMEMBERED {
            tried.clear();
        }
        let version = tried.insert(key(claim), claim.version.clone());
        version.as_ref() != Some(&claim.version)
    }

    /// This version of the claim may be tried again.
    fn give_up(&self, claim: &Claim) {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.remove(&key(claim));
    }
}

fn key(claim: &Claim) -> Key {
    (claim.namespace.clone(), claim.name.clone())
}

/// `claim` is as it was before the lease.
fn leased(request: &ClaimRequest, claim: &Claim) -> (LeaseOutcome, LeaseResult) {
    let warm = claim.serves(&request.key);
    let outcome = if warm {
        LeaseOutcome::Warm
    } else {
        LeaseOutcome::Cold
    };
    let result = LeaseResult::Leased {
        claim: claim.name.clone(),
        lease: request.lease.id.clone(),
        warm,
    };
    (outcome, result)
}

fn reason(refusal: LeaseOutcome) -> Reason {
    match refusal {
        LeaseOutcome::Timeout => Reason::PoolUnavailable(PoolFailure::Timeout),
        LeaseOutcome::Failed => Reason::PoolUnavailable(PoolFailure::ApiServer),
        LeaseOutcome::Unknown => Reason::PoolUnavailable(PoolFailure::NotSynced),
        LeaseOutcome::Contended => Reason::PoolUnavailable(PoolFailure::Contended),
        LeaseOutcome::Exhausted | LeaseOutcome::Warm | LeaseOutcome::Cold => Reason::PoolExhausted,
    }
}
