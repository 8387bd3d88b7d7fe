//! Patches claims in the cluster.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::Value;
use slipway_core::cache::claims::Claim;

use super::{FIELD_MANAGER, claim_of, watch::edit};
use crate::cluster::state::LiveState;

/// Applies a merge patch that names the version of the claim, and adds the result to the cluster state:
/// the next decision need not wait for the watch.
///
/// # Errors
/// When the API server refuses the patch; 404 and 409 when the claim is gone or has changed.
pub(super) async fn patch_claim(
    client: &Client,
    state: &LiveState,
    claim: &Claim,
    patch: Value,
) -> kube::Result<()> {
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &claim.namespace);
    let patch = Patch::Merge(patch);
    let written = api.patch(&claim.name, &parameters, &patch).await?;
    if let Some(written) = claim_of(&written) {
        edit(state, |claims| {
            claims.apply_write(&claim.version, written.clone());
        });
    }
    Ok(())
}
