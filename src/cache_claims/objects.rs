//! Reads claims and pods from what the API server sends.

use std::borrow::Cow;

use k8s_openapi::{
    api::core::v1::PersistentVolumeClaim, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, core::NamespaceResourceScope};
use serde::Deserialize;

use slipway_core::cache::claims::{Claim, LEASE, POOL, claim::Annotations, expire::Holder};

/// Reads a claim of a pool; `None` for any other claim.
#[must_use]
pub fn claim_of(object: &PersistentVolumeClaim) -> Option<Claim> {
    let metadata = &object.metadata;
    let profile = metadata.labels.as_ref()?.get(POOL)?.clone();
    let spec = object.spec.as_ref();
    let requested = spec
        .and_then(|spec| spec.resources.as_ref())
        .and_then(|resources| resources.requests.as_ref());
    let actual = object.status.as_ref().and_then(|s| s.capacity.as_ref());
    let storage = actual.or(requested).and_then(|sizes| sizes.get("storage"));
    Some(Claim {
        namespace: metadata.namespace.clone()?,
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
        version: metadata.resource_version.clone()?,
        profile,
        terminating: metadata.deletion_timestamp.is_some(),
        volume: spec
            .and_then(|spec| spec.volume_name.clone())
            .filter(|name| !name.is_empty()),
        size: storage.map(|quantity| quantity.0.clone()),
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        annotations: metadata
            .annotations
            .as_ref()
            .map(Annotations::read)
            .unwrap_or_default(),
    })
}

/// The parts of a pod that leases need. The rest is skipped while it is read.
#[derive(Debug, Clone, Deserialize)]
pub struct PodObject {
    /// The pod's metadata.
    pub metadata: ObjectMeta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct PodSpec {
    #[serde(default)]
    volumes: Option<Vec<Volume>>,
}

#[derive(Debug, Clone, Deserialize)]
struct HostPath {
    path: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    host_path: Option<HostPath>,
    persistent_volume_claim: Option<ClaimSource>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSource {
    claim_name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct PodStatus {
    #[serde(default)]
    phase: Option<String>,
}

impl PodObject {
    /// Returns whether it has not ended. The containers of a pod that is being deleted may still run.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// Returns the lease that its label names.
    #[must_use]
    pub fn lease(&self) -> Option<&str> {
        let labels = self.metadata.labels.as_ref()?;
        labels.get(LEASE).map(String::as_str)
    }

    /// Returns the directories of the node that its volumes name.
    pub fn host_paths(&self) -> impl Iterator<Item = &str> {
        let volumes = self.spec.volumes.iter().flatten();
        volumes.filter_map(|volume| Some(volume.host_path.as_ref()?.path.as_str()))
    }

    /// Returns the lease and the claims that it holds.
    #[must_use]
    pub fn holder(&self) -> Holder {
        let volumes = self.spec.volumes.iter().flatten();
        Holder {
            lease: self.lease().map(str::to_owned),
            claims: volumes
                .filter_map(|volume| volume.persistent_volume_claim.as_ref())
                .map(|source| source.claim_name.clone())
                .collect(),
        }
    }
}

impl Resource for PodObject {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
