//! What a person may do to a claim: end its lease, or delete it. With the leader's caution, so that
//! it is safe beside a leader, and also where there is none: a claim that a live pod has is left
//! alone, and each write names the version that was looked at.

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

/// Who writes, in `managedFields`.
const FIELD_MANAGER: &str = "slipway-cache";

/// Changes claims for a person.
#[derive(Clone)]
pub struct ManualChanges {
    /// The cluster.
    pub client: Client,
    /// Whether claims that live pods have are changed all the same.
    pub force: bool,
    /// How long a pod of a lease may still appear; at least the API server's `--request-timeout`.
    pub appearance: Duration,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Its lease ended.
    Released,
    /// It had no lease.
    WasFree,
    /// It is being deleted, at once or when the pod that still has it is gone.
    Evicted,
}

/// Why a claim was left as it is.
#[derive(Debug, ThisError)]
pub enum Refusal {
    /// A live pod has it.
    #[error("pod {0} has it")]
    Held(String),
    /// There is none of this name.
    #[error("there is no such claim")]
    NotFound,
    /// It is somebody's own.
    #[error("it is no claim of a pool: it has no label {POOL}")]
    NotOfAPool,
    /// Somebody else changed it in the meantime.
    #[error("it was changed in the meantime; look at it again")]
    Changed,
    /// The API server refused, or could not be asked.
    #[error("failed to {0}: {1}")]
    Failed(&'static str, Error),
}

/// A claim that was looked at, and the live pods that have it.
#[derive(Debug)]
struct Looked {
    claim: Claim,
    holders: Vec<String>,
    /// A pod with its lease was seen, be it one that has ended.
    appeared: bool,
}

impl ManualChanges {
    /// Ends the lease of a claim. `waits` is called before a wait for a pod that may still appear.
    ///
    /// # Errors
    /// When a live pod has the claim and nobody forces, when somebody else was faster, and when the
    /// API server does not do it.
    pub async fn release(
        &self,
        namespace: &str,
        name: &str,
        waits: impl FnOnce(),
    ) -> Result<Done, Refusal> {
        let claim = self.read(namespace, name).await?;
        let claim = self.settled(claim, waits).await?;
        if claim.annotations.lease.is_none() {
            return Ok(Done::WasFree);
        }
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(claim.release_patch(Timestamp::now()));
        let api = self.claims(namespace);
        let written = api.patch(name, &parameters, &patch).await;
        written.map_err(|error| refusal("patch it", error))?;
        Ok(Done::Released)
    }

    /// Deletes a claim, and so, with the usual reclaim policy, its volume and the layers there.
    /// A claim that a pod has stays until that is gone, but nobody gets it any more.
    ///
    /// # Errors
    /// As [`Self::release`].
    pub async fn evict(
        &self,
        namespace: &str,
        name: &str,
        waits: impl FnOnce(),
    ) -> Result<Done, Refusal> {
        let claim = self.read(namespace, name).await?;
        if claim.terminating {
            return Ok(Done::Evicted);
        }
        let claim = self.settled(claim, waits).await?;
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

    /// The claim, when no live pod has it, and none that is being admitted can get it; or at once by
    /// force.
    async fn settled(&self, claim: Claim, waits: impl FnOnce()) -> Result<Claim, Refusal> {
        if self.force {
            return Ok(claim);
        }
        let mut looked = self.look(claim).await?;
        let is_leased = looked.claim.annotations.lease.is_some();
        if looked.holders.is_empty() && is_leased && !looked.appeared {
            waits();
            sleep(self.appearance).await;
            looked = self.look(looked.claim).await?;
        }
        match looked.holders.into_iter().next() {
            Some(pod) => Err(Refusal::Held(pod)),
            None => Ok(looked.claim),
        }
    }

    async fn look(&self, claim: Claim) -> Result<Looked, Refusal> {
        let pods = Api::<PodObject>::namespaced(self.client.clone(), &claim.namespace);
        let pods = list_pages(&pods, ListParams::default()).await;
        let pods =
            pods.map_err(|error| Refusal::Failed("list the pods of its namespace", error))?;
        let lease = claim
            .annotations
            .lease
            .as_ref()
            .map(|lease| lease.id.as_str());
        let appeared = pods
            .iter()
            .any(|pod| pod.lease().is_some() && pod.lease() == lease);
        let holders = holders(&claim, &pods).map(ResourceExt::name_any).collect();
        Ok(Looked {
            claim,
            holders,
            appeared,
        })
    }

    fn claims(&self, namespace: &str) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// The live pods, of these of its namespace, that have a claim: by its lease, or by naming it.
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
