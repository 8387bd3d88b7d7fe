//! What the leader does to claims: leases that are over end, claims are made and deleted, and bound
//! ones are told which nodes reach their volumes.
//!
//! It looks at everything again at each turn, so that nothing depends on an event that was missed.
//! Two leaders, or one that was frozen, do no harm: each write names the version that it was decided
//! on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    future::pending,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Error, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
        Preconditions,
    },
};
use serde_json::json;
use slipway_core::{
    cache::claims::{
        Claim, ClaimPoolKey, Claims, LEASE, POOL,
        expire::{APPEARANCE_TIMEOUT, Holder, PodLease, Sightings, is_over},
        upkeep::{UpkeepAction, plan_upkeep},
    },
    decide::profile_of,
    k8s::namespace::Namespace,
    policy::{ClaimPool, Policy},
};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::{FIELD_MANAGER, PodObject, claim_of, watch::edit};
use crate::{
    cluster::{
        state::{ClusterState, LiveState},
        watch::changes::{Change, changes_of_labelled},
    },
    metrics::{ClaimChange, Metrics, Watched},
};

/// No single call takes longer: a hanging one must not keep leases from ending.
const CALL: Duration = Duration::from_secs(15);

/// The node selector terms of a volume.
const NODE_TERMS: &str = "/spec/nodeAffinity/required/nodeSelectorTerms";

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// How long after its lease a pod may still appear.
    pub appearance_timeout: Duration,
    /// At least so often everything is looked at.
    pub resync: Duration,
    /// Changes within this time make one turn.
    pub debounce: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            appearance_timeout: APPEARANCE_TIMEOUT,
            resync: Duration::from_secs(10),
            debounce: Duration::from_millis(200),
        }
    }
}

/// The leader's work on claims. What it remembers is only what makes it faster or more careful: a
/// new leader begins with a new one.
pub struct Controller {
    client: Client,
    state: Arc<LiveState>,
    metrics: Arc<Metrics>,
    timings: Timings,
    began: Instant,
    sightings: Sightings,
    pods: Pods,
    /// Names of claims that others have made.
    taken: HashMap<String, BTreeSet<String>>,
}

/// The pods that have leases, as the watch shows them, by namespace and name; `None` before the
/// first list.
type Pods = Option<BTreeMap<(String, String), PodObject>>;

impl Controller {
    /// Prepares to lead.
    #[must_use]
    pub fn new(
        client: Client,
        state: Arc<LiveState>,
        metrics: Arc<Metrics>,
        timings: Timings,
    ) -> Self {
        Self {
            client,
            state,
            metrics,
            timings,
            began: Instant::now(),
            sightings: Sightings::default(),
            pods: None,
            taken: HashMap::new(),
        }
    }

    /// Leads, for ever. To be dropped when leadership is lost.
    pub async fn lead(mut self) {
        let state = Arc::clone(&self.state);
        loop {
            state.until(is_needed).await;
            tokio::select! {
                () = self.work() => {}
                () = state.until(|state| !is_needed(state)) => {}
            }
            self.metrics.watches.end(Watched::Pods);
            self.pods = None;
        }
    }

    async fn work(&mut self) {
        self.metrics.watches.begin(Watched::Pods);
        let metrics = Arc::clone(&self.metrics);
        let api = Api::<PodObject>::all(self.client.clone());
        let mut pods = pin!(changes_of_labelled(api, LEASE, Watched::Pods, &metrics));
        let mut changed = self.state.subscribe();
        loop {
            tokio::select! {
                Some(change) = pods.next() => self.heard(change),
                _ = changed.changed() => {}
                () = sleep(self.timings.resync) => {}
            }
            let gather = sleep(self.timings.debounce);
            let mut gather = pin!(gather);
            loop {
                tokio::select! {
                    Some(change) = pods.next() => self.heard(change),
                    () = &mut gather => break,
                    else => pending::<()>().await,
                }
            }
            changed.mark_unchanged();
            self.turn().await;
        }
    }

    fn heard(&mut self, change: Change<PodObject>) {
        let key = |pod: &PodObject| (pod.namespace().unwrap_or_default(), pod.name_any());
        match change {
            Change::All(all) => {
                self.pods = Some(all.into_iter().map(|pod| (key(&pod), pod)).collect());
            }
            Change::Applied(pod) => {
                self.pods.get_or_insert_default().insert(key(&pod), pod);
            }
            Change::Deleted(pod) => {
                self.pods.get_or_insert_default().remove(&key(&pod));
            }
        }
    }

    /// Looks at everything, and does what is due.
    async fn turn(&mut self) {
        let state = self.state.load().clone();
        let Some(claims) = state.claims.clone() else {
            return;
        };
        self.end_leases(&claims).await;
        for claim in claims.iter().filter(|claim| claim.lacks_topology()) {
            self.tell_topology(claim).await;
        }
        self.keep_up(&state, &claims).await;
    }

    async fn end_leases(&mut self, claims: &Claims) {
        let Some(pods) = &self.pods else { return };
        let leases = |pods: &mut dyn Iterator<Item = &PodObject>| -> HashSet<PodLease> {
            pods.filter_map(|pod| {
                Some(PodLease {
                    namespace: pod.namespace()?,
                    lease: pod.lease()?.to_owned(),
                })
            })
            .collect()
        };
        let seen = leases(&mut pods.values());
        let live = leases(&mut pods.values().filter(|pod| pod.is_live()));
        let now = self.began.elapsed();
        let suspects =
            self.sightings
                .suspects(claims, &seen, &live, now, self.timings.appearance_timeout);
        let mut by_namespace: BTreeMap<&str, Vec<&Arc<Claim>>> = BTreeMap::new();
        for claim in &suspects {
            by_namespace
                .entry(&claim.namespace)
                .or_default()
                .push(claim);
        }
        for (namespace, suspects) in by_namespace {
            let Some(listed) = self.live_pods(namespace).await else {
                continue;
            };
            for claim in suspects {
                if is_over(claim, &listed) {
                    self.release(claim).await;
                } else {
                    debug!(
                        claim = claim.name,
                        namespace, "a live pod still has the claim"
                    );
                }
            }
        }
    }

    /// The live pods of a namespace, as the API server itself knows them now.
    async fn live_pods(&self, namespace: &str) -> Option<Vec<Holder>> {
        let api = Api::<PodObject>::namespaced(self.client.clone(), namespace);
        // No resourceVersion: the list is of now, and not of a cache.
        let listed = within(api.list(&ListParams::default())).await;
        match listed {
            Ok(list) => {
                let live = list.items.iter().filter(|pod| pod.is_live());
                Some(live.map(PodObject::holder).collect())
            }
            Err(error) => {
                self.failed("list pods", namespace, &error);
                None
            }
        }
    }

    async fn release(&self, claim: &Claim) {
        let patch = claim.release_patch(Timestamp::now());
        if self.patch(claim, "release", patch).await {
            self.metrics.pools.count_claim_change(ClaimChange::Released);
            debug!(claim = claim.name, namespace = claim.namespace, "released");
        }
    }

    /// Writes down which nodes reach a claim's volume.
    async fn tell_topology(&self, claim: &Claim) {
        let Some(volume) = &claim.volume else { return };
        // Of the volume only the terms matter, and they are passed on as they are.
        let kind = ApiResource::erase::<PersistentVolume>(&());
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &kind);
        match within(api.get(volume)).await {
            Ok(volume) => {
                let terms = volume
                    .data
                    .pointer(NODE_TERMS)
                    .filter(|terms| !terms.is_null());
                let terms = terms.map_or_else(|| "[]".to_owned(), ToString::to_string);
                self.patch(claim, "describe", claim.topology_patch(&terms))
                    .await;
            }
            Err(error) => self.failed("read the volume of", &claim.name, &error),
        }
    }

    /// Patches a claim, if it is still what it was. Says whether it did.
    async fn patch(&self, claim: &Claim, what: &'static str, patch: serde_json::Value) -> bool {
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.claims_in(&claim.namespace);
        match within(api.patch(&claim.name, &parameters, &Patch::Merge(patch))).await {
            Ok(written) => {
                if let Some(written) = claim_of(&written) {
                    edit(&self.state, |claims| {
                        claims.apply_write(&claim.version, written.clone());
                    });
                }
                true
            }
            Err(Failure::Api(Error::Api(status))) if matches!(status.code, 404 | 409) => false,
            Err(error) => {
                self.failed(what, &claim.name, &error);
                false
            }
        }
    }

    /// Makes and deletes claims.
    async fn keep_up(&mut self, state: &ClusterState, claims: &Claims) {
        let namespaces = state.namespaces.iter().flat_map(|all| all.iter());
        let wanted = wanted_pools(namespaces, &state.policy);
        let names: BTreeSet<&ClaimPoolKey> = wanted.keys().chain(claims.pools()).collect();
        for name in names {
            let settings = wanted.get(name).copied();
            let present: Vec<Arc<Claim>> = claims.of_pool(name).cloned().collect();
            let taken = self.taken.entry(name.namespace.clone()).or_default();
            let now = Timestamp::now();
            for action in plan_upkeep(&name.profile, settings, &present, taken, now) {
                match (action, settings) {
                    (UpkeepAction::Delete(claim), _) => self.delete(&claim).await,
                    (UpkeepAction::Create(claim), Some(settings)) => {
                        self.create(name, &claim, settings).await;
                    }
                    (UpkeepAction::Create(_), None) => {}
                }
            }
        }
    }

    async fn create(&mut self, pool: &ClaimPoolKey, name: &str, settings: &ClaimPool) {
        let ClaimPoolKey { namespace, profile } = pool;
        let claim = template(pool, name, settings);
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let api = self.claims_in(namespace);
        match within(api.create(&parameters, &claim)).await {
            Ok(created) => {
                self.metrics.pools.count_claim_change(ClaimChange::Created);
                info!(claim = name, namespace, profile, "claim created");
                if let Some(created) = claim_of(&created) {
                    edit(&self.state, |claims| claims.apply(created.clone()));
                }
            }
            // Ours, and not in the watch yet; or somebody's: the next turn takes another name.
            Err(Failure::Api(Error::Api(status))) if status.code == 409 => {
                let taken = self.taken.entry(namespace.clone()).or_default();
                taken.insert(name.to_owned());
            }
            Err(error) => self.failed("create", name, &error),
        }
    }

    /// Deletes a claim, if it is still what it was: free above all.
    async fn delete(&self, claim: &Claim) {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(claim.uid.clone()),
                resource_version: Some(claim.version.clone()),
            }),
            ..DeleteParams::default()
        };
        let api = self.claims_in(&claim.namespace);
        match within(api.delete(&claim.name, &parameters)).await {
            Ok(_) => {
                self.metrics.pools.count_claim_change(ClaimChange::Deleted);
                info!(
                    claim = claim.name,
                    namespace = claim.namespace,
                    "claim deleted"
                );
            }
            Err(Failure::Api(Error::Api(status))) if matches!(status.code, 404 | 409) => {}
            Err(error) => self.failed("delete", &claim.name, &error),
        }
    }

    fn claims_in(&self, namespace: &str) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn failed(&self, what: &'static str, name: &str, error: &Failure) {
        self.metrics.pools.count_claim_change(ClaimChange::Failed);
        warn!(what, name, %error, "work on a pool failed; it is tried again");
    }
}

/// While there are pools, and claims are known.
fn is_needed(state: &ClusterState) -> bool {
    state.policy.has_claim_pools() && state.claims.is_some() && state.namespaces.is_some()
}

/// The pools that the policy asks for in these namespaces.
pub(crate) fn wanted_pools<'p, 'n>(
    namespaces: impl Iterator<Item = &'n Namespace>,
    policy: &'p Policy,
) -> BTreeMap<ClaimPoolKey, &'p ClaimPool> {
    namespaces
        .filter_map(|namespace| {
            let (name, profile) = profile_of(namespace, policy)?;
            let pool = profile.dind.cache.claim_pool()?;
            Some((ClaimPoolKey::new(&namespace.name, name), pool))
        })
        .collect()
}

/// A new claim.
fn template(pool: &ClaimPoolKey, name: &str, settings: &ClaimPool) -> PersistentVolumeClaim {
    let mut labels: BTreeMap<&str, &str> = settings
        .labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    labels.insert("app.kubernetes.io/managed-by", "slipway");
    labels.insert(POOL, &pool.profile);
    let claim = json!({
        "metadata": {"namespace": pool.namespace, "name": name, "labels": labels},
        "spec": {
            "accessModes": [settings.access_mode],
            "storageClassName": settings.storage_class,
            "resources": {"requests": {"storage": settings.size}},
        },
    });
    serde_json::from_value(claim).unwrap_or_default()
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Api(#[from] Error),
    #[error("the API server did not answer in {}s", CALL.as_secs())]
    Timeout,
}

async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    match timeout(CALL, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure::Timeout),
    }
}
