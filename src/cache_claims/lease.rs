//! Leases a claim during an admission request, with one write that compares versions.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::{Client, Error};
use slipway_core::{
    cache::claims::{Claim, ClaimRequest, LeaseResult, clients::may_lease},
    reason::{PoolFailure, Reason},
};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::patch::patch_claim;
use crate::{
    cluster::state::LiveState,
    metrics::{LeaseOutcome, Metrics},
};

/// The time that a lease may take, unless another limit is set.
const PATIENCE: Duration = Duration::from_secs(1);
/// The part of a request's time that is kept for its answer.
const RESERVE: Duration = Duration::from_millis(200);
/// The number of claims that are tried before the pod gets its fallback.
const MAX_ATTEMPTS: usize = 6;
/// The number of claims whose tried version is remembered. Forgetting one costs at most a write that
/// fails.
const MAX_REMEMBERED: usize = 4096;

/// A claim's namespace and name.
type Key = (String, String);

/// Leases claims to the pods that one replica admits.
pub struct Leaser {
    client: Client,
    state: Arc<LiveState>,
    metrics: Arc<Metrics>,
    /// The version of each claim that a request of this replica has tried. No version is tried twice:
    /// requests do not compete for the same claim, and an outdated version would fail again.
    tried: Mutex<HashMap<Key, String>>,
    patience: Duration,
}

impl fmt::Debug for Leaser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaser").finish_non_exhaustive()
    }
}

impl Leaser {
    /// Creates a leaser that writes with this client and updates the claims in `state`.
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

    /// Sets how long a lease may take. The default is a second.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Leases the best available claim before the deadline. `from` is the address of the client. Never
    /// fails: the result may be that the pod gets its fallback, with the reason.
    pub async fn lease(
        &self,
        request: &ClaimRequest,
        from: IpAddr,
        deadline: Instant,
    ) -> LeaseResult {
        let start = Instant::now();
        let until = (start + self.patience).min(deadline.checked_sub(RESERVE).unwrap_or(start));
        let claim = self.try_candidates(request, from, until).await;
        let (outcome, result) = match claim {
            Ok(claim) => leased(request, &claim),
            Err(refusal) => (refusal, LeaseResult::Refused(reason(refusal))),
        };
        self.metrics.pools.count_lease(outcome, start.elapsed());
        result
    }

    async fn try_candidates(
        &self,
        request: &ClaimRequest,
        from: IpAddr,
        until: Instant,
    ) -> Result<Claim, LeaseOutcome> {
        let candidates = request.candidates.as_ref().ok_or(LeaseOutcome::Unknown)?;
        if let Some(claim) = candidates.first()
            && self.is_suspended(from, claim)
        {
            return Err(LeaseOutcome::Suspended);
        }
        let mut attempts = 0;
        for claim in candidates {
            if attempts == MAX_ATTEMPTS {
                return Err(LeaseOutcome::Contended);
            }
            if !self.is_first_try(claim) {
                continue;
            }
            attempts += 1;
            match timeout_at(until, self.write(request, from, claim)).await {
                Ok(Ok(())) => return Ok(Claim::clone(claim)),
                Ok(Err(Error::Api(status))) if matches!(status.code, 404 | 409) => {
                    debug!(
                        claim = claim.name,
                        "the claim has changed since it was read"
                    );
                }
                Ok(Err(error)) => {
                    self.allow_retry(claim);
                    warn!(claim = claim.name, namespace = claim.namespace, %error, "failed to lease a claim");
                    return Err(LeaseOutcome::Failed);
                }
                // The lease may have been written. Then the next try fails, because the version has
                // changed, and the controller ends the lease, because its pod never appears.
                Err(_) => {
                    self.allow_retry(claim);
                    warn!(
                        claim = claim.name,
                        namespace = claim.namespace,
                        "failed to lease a claim: no answer in time"
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

    /// Returns whether an address gets no claims of the pool that `claim` belongs to.
    fn is_suspended(&self, from: IpAddr, claim: &Claim) -> bool {
        let state = self.state.load();
        let pool = state
            .claims
            .iter()
            .flat_map(|claims| claims.of_pool(&claim.pool_key()));
        !may_lease(from, pool, Timestamp::now())
    }

    async fn write(
        &self,
        request: &ClaimRequest,
        from: IpAddr,
        claim: &Claim,
    ) -> Result<(), Error> {
        let patch = claim.lease_patch(&request.lease, &request.key, from, Timestamp::now());
        patch_claim(&self.client, &self.state, claim, patch).await
    }

    /// Notes that this version of the claim is tried now. Returns whether it had not been tried before.
    fn is_first_try(&self, claim: &Claim) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.len() >= MAX_REMEMBERED {
            tried.clear();
        }
        let version = tried.insert(key(claim), claim.version.clone());
        version.as_ref() != Some(&claim.version)
    }

    /// Allows this version of the claim to be tried again.
    fn allow_retry(&self, claim: &Claim) {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.remove(&key(claim));
    }
}

fn key(claim: &Claim) -> Key {
    (claim.namespace.clone(), claim.name.clone())
}

/// Returns the result of a successful lease. `claim` is as it was before.
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
        LeaseOutcome::Suspended => Reason::PoolUnavailable(PoolFailure::Suspended),
        LeaseOutcome::Contended => Reason::PoolUnavailable(PoolFailure::Contended),
        LeaseOutcome::Exhausted | LeaseOutcome::Warm | LeaseOutcome::Cold => Reason::PoolExhausted,
    }
}
