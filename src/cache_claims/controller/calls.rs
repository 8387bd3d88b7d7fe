//! The leader's calls to the API server. Failures are logged and counted here, and the next pass tries
//! again: no caller has to handle them.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams, Preconditions},
};
use serde_json::Value;
use slipway_core::cache::claims::{Claim, expire::Holder};
use tracing::{debug, info, warn};

use crate::{
    cache_claims::{FIELD_MANAGER, PodObject, claim_of, patch::patch_claim, watch::edit},
    cluster::{
        call::{CallError, within},
        state::LiveState,
    },
    metrics::{ClaimChange, Metrics},
};

/// The longest a call may take: one that hangs must not keep other leases from ending.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Where a volume names the nodes that can reach it.
const NODE_TERMS: &str = "/spec/nodeAffinity/required/nodeSelectorTerms";

/// The leader's calls to the API server.
pub(super) struct Calls {
    client: Client,
    state: Arc<LiveState>,
    metrics: Arc<Metrics>,
}

impl Calls {
    pub(super) fn new(client: Client, state: Arc<LiveState>, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            state,
            metrics,
        }
    }

    /// Lists the live pods of a namespace; `None` if that fails. The list holds every pod that was
    /// stored before the call: without a `resourceVersion` it does not come from a cache.
    pub(super) async fn live_pods(&self, namespace: &str) -> Option<Vec<Holder>> {
        let api = Api::<PodObject>::namespaced(self.client.clone(), namespace);
        let all = ListParams::default();
        let listing = api.list(&all);
        let listed = within(
            CALL_TIMEOUT,
            "list the pods of namespace",
            namespace,
            listing,
        )
        .await;
        let pods = self.ok(listed)?.items;
        let live_pods = pods.iter().filter(|pod| pod.is_live());
        Some(live_pods.map(PodObject::holder).collect())
    }

    /// Ends the lease of a claim, if the claim has not changed. `used` tells whether a pod used it.
    pub(super) async fn release(&self, claim: &Claim, used: Option<bool>) {
        let patch = claim.release_patch(used, Timestamp::now());
        if self.patch("release the claim", claim, patch).await {
            self.metrics.pools.count_claim_change(ClaimChange::Released);
            debug!(
                claim = claim.name,
                namespace = claim.namespace,
                "released the claim"
            );
        }
    }

    /// Records in a bound claim which nodes can reach its volume.
    pub(super) async fn record_topology(&self, claim: &Claim) {
        let Some(volume) = &claim.volume else { return };
        // An untyped object keeps the terms exactly as they are in the volume.
        let kind = ApiResource::erase::<PersistentVolume>(&());
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &kind);
        let read = within(CALL_TIMEOUT, "read the volume", volume, api.get(volume)).await;
        let Some(volume) = self.ok(read) else { return };
        let terms = volume.data.pointer(NODE_TERMS);
        let terms = terms
            .filter(|terms| !terms.is_null())
            .map_or_else(|| "[]".to_owned(), Value::to_string);
        let patch = claim.topology_patch(&terms);
        self.patch("record the topology of the claim", claim, patch)
            .await;
    }

    /// Creates a claim. Returns whether its name is taken, by somebody else's claim or by one of ours
    /// that the watch has not shown yet.
    pub(super) async fn create(&self, claim: &PersistentVolumeClaim) -> bool {
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let api = self.claims(&claim.namespace().unwrap_or_default());
        let creating = api.create(&parameters, claim);
        let name = claim.name_any();
        let created = within(CALL_TIMEOUT, "create the claim", &name, creating).await;
        if created
            .as_ref()
            .is_err_and(|error| error.code() == Some(409))
        {
            return true;
        }
        if let Some(created) = self.ok(created) {
            self.metrics.pools.count_claim_change(ClaimChange::Created);
            if let Some(claim) = claim_of(&created) {
                info!(
                    claim = claim.name,
                    namespace = claim.namespace,
                    profile = claim.profile,
                    "created a claim"
                );
                edit(&self.state, |claims| claims.apply(claim.clone()));
            }
        }
        false
    }

    /// Deletes a claim, if it has not changed; above all, if it is still free.
    pub(super) async fn delete(&self, claim: &Claim) {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(claim.uid.clone()),
                resource_version: Some(claim.version.clone()),
            }),
            ..DeleteParams::default()
        };
        let api = self.claims(&claim.namespace);
        let deleting = api.delete(&claim.name, &parameters);
        let deleted = within(CALL_TIMEOUT, "delete the claim", &claim.name, deleting).await;
        if self.unless_stale(deleted).is_some() {
            self.metrics.pools.count_claim_change(ClaimChange::Deleted);
            info!(
                claim = claim.name,
                namespace = claim.namespace,
                "deleted a claim"
            );
        }
    }

    /// Patches a claim, if it has not changed. Returns whether it did.
    async fn patch(&self, action: &'static str, claim: &Claim, patch: Value) -> bool {
        let patching = patch_claim(&self.client, &self.state, claim, patch);
        let patched = within(CALL_TIMEOUT, action, &claim.name, patching).await;
        self.unless_stale(patched).is_some()
    }

    fn claims(&self, namespace: &str) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Returns the result of a call. Logs and counts a failure.
    fn ok<T>(&self, result: Result<T, CallError>) -> Option<T> {
        result
            .inspect_err(|error| {
                self.metrics.pools.count_claim_change(ClaimChange::Failed);
                warn!(%error, "work on the cache pools failed; trying again");
            })
            .ok()
    }

    /// Returns the result of a write, as [`Self::ok`] does. That a claim has changed or is gone is not
    /// a failure: the next pass decides again.
    fn unless_stale<T>(&self, result: Result<T, CallError>) -> Option<T> {
        match result {
            Err(error) if matches!(error.code(), Some(404 | 409)) => None,
            result => self.ok(result),
        }
    }
}
