//! Manual changes to claims, for `slipway cache`: releases or deletes a claim as carefully as the leader
//! does. That is safe next to a leader and without one: a claim that a live pod holds is left alone,
//! and each write names the version of the claim that was checked.

use std::time::Duration;

use k8s_openapi::{api::core::v1::PersistentVolumeClaim, jiff::Timestamp};
use kube::{
    Api, Client, Error, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use slipway_core::cache::claims::{Claim, POOL, expire::holds};
use thiserror::Error as ThisError;
use tokio::time::sleep;

use super::{PodObject, claim_of};
use crate::cluster::watch::list_pages;

/// The field manager of all writes.
const FIELD_MANAGER: &str = "slipway-cache";

/// Makes manual changes to claims.
#[derive(Clone)]
pub struct ManualChanges {
    /// The cluster.
    pub client: Client,
    /// Whether claims that live pods hold are changed too.
    pub force: bool,
    /// How long the pod of a lease may take to appear: at least the API server's `--request-timeout`.
    pub appearance: Duration,
}

/// The result of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Its lease ended.
    Released,
    /// It had no lease.
    WasFree,
    /// It is deleted, or will be once the pod that holds it is gone.
    Evicted,
}

/// A reason why a claim was not changed.
#[derive(Debug, ThisError)]
pub enum Refusal {
    /// A live pod holds it.
    #[error("pod {0} uses it")]
    Held(String),
    /// No claim has this name.
    #[error("there is no such claim")]
    NotFound,
    /// It was not made by Slipway.
    #[error("it does not belong to a cache pool: it has no label {POOL}")]
    NotOfAPool,
    /// It changed after it was checked.
    #[error("it has changed in the meantime; run the command again")]
    Changed,
    /// The API server refused the call, or could not be reached.
    #[error("failed to {0}: {1}")]
    Failed(&'static str, Error),
}

/// A claim, and the live pods that hold it.
#[derive(Debug)]
struct Usage {
    claim: Claim,
    holders: Vec<String>,
    /// Whether a pod with its lease exists, live or ended.
    appeared: bool,
}

impl ManualChanges {
    /// Ends the lease of a claim. Calls `on_wait` before it waits for a pod that may still appear.
    ///
    /// # Errors
    /// When a live pod holds the claim, unless forced; when the claim changes in the meantime; and when
    /// a call to the API server fails.
    pub async fn release(
        &self,
        namespace: &str,
        name: &str,
        on_wait: impl FnOnce(),
    ) -> Result<Done, Refusal> {
        let claim = self.read(namespace, name).await?;
        let claim = self.unused(claim, on_wait).await?;
        if claim.annotations.lease.is_none() {
            return Ok(Done::WasFree);
        }
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(claim.release_patch(None, Timestamp::now()));
        let api = self.claims(namespace);
        let written = api.patch(name, &parameters, &patch).await;
        written.map_err(|error| refusal("patch it", error))?;
        Ok(Done::Released)
    }

    /// Deletes a claim; with the usual reclaim policy, that deletes its volume and all layers too. A
    /// claim that a pod holds stays until the pod is gone, but is not leased again.
    ///
    /// # Errors
    /// As for [`Self::release`].
    pub async fn evict(
        &self,
        namespace: &str,
        name: &str,
        on_wait: impl FnOnce(),
    ) -> Result<Done, Refusal> {
        let claim = self.read(namespace, name).await?;
        if claim.terminating {
            return Ok(Done::Evicted);
        }
        let claim = self.unused(claim, on_wait).await?;
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(claim.uid),
                resource_version: Some(claim.version),
            }),
            ..DeleteParams::default()
        };
        let api = self.claims(namespace);
        let deleted = api.delete(name, &parameters).await;
        deleted.map_err(|error| refusal("delete it", error))?;
        Ok(Done::Evicted)
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Claim, Refusal> {
        let object = self.claims(namespace).get(name).await;
        let object = object.map_err(|error| refusal("read it", error))?;
        claim_of(&object).ok_or(Refusal::NotOfAPool)
    }

    /// Returns the claim once no live pod holds it and no pod that is being admitted can still get it.
    /// Does not check that if forced.
    async fn unused(&self, claim: Claim, on_wait: impl FnOnce()) -> Result<Claim, Refusal> {
        if self.force {
            return Ok(claim);
        }
        let mut usage = self.usage(claim).await?;
        let is_leased = usage.claim.annotations.lease.is_some();
        if usage.holders.is_empty() && is_leased && !usage.appeared {
            on_wait();
            sleep(self.appearance).await;
            usage = self.usage(usage.claim).await?;
        }
        match usage.holders.into_iter().next() {
            Some(pod) => Err(Refusal::Held(pod)),
            None => Ok(usage.claim),
        }
    }

    async fn usage(&self, claim: Claim) -> Result<Usage, Refusal> {
        let pods = Api::<PodObject>::namespaced(self.client.clone(), &claim.namespace);
        let pods = list_pages(&pods, ListParams::default()).await;
        let pods =
            pods.map_err(|error| Refusal::Failed("list the pods of its namespace", error))?;
        let lease = claim
            .annotations
            .lease
            .as_ref()
            .map(|lease| lease.id.as_str());
        let appeared = pods.iter().any(|pod| {
            pod.lease().is_some() && pod.lease() == lease && holds(&pod.holder(), &claim)
        });
        let holders = holders(&claim, &pods).map(ResourceExt::name_any).collect();
        Ok(Usage {
            claim,
            holders,
            appeared,
        })
    }

    fn claims(&self, namespace: &str) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Returns the live pods among `pods`, all of its namespace, that hold a claim: a volume names it.
pub fn holders<'p>(
    claim: &Claim,
    pods: impl IntoIterator<Item = &'p PodObject>,
) -> impl Iterator<Item = &'p PodObject> {
    let live = pods.into_iter().filter(|pod| pod.is_live());
    live.filter(|pod| holds(&pod.holder(), claim))
}

fn refusal(what: &'static str, error: Error) -> Refusal {
    match error {
        Error::Api(status) if status.code == 404 => Refusal::NotFound,
        Error::Api(status) if status.code == 409 => Refusal::Changed,
        error => Refusal::Failed(what, error),
    }
}
