//! Watches the claims of all pools.

use std::{pin::pin, sync::Arc};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, Client};
use slipway_core::cache::claims::{Claims, POOL};
use tracing::info;

use super::claim_of;
use crate::{
    cluster::{
        state::LiveState,
        watch::changes::{Change, changes_of_labelled},
    },
    metrics::{Metrics, Watched},
};

/// Follows the claims, forever.
pub(super) async fn follow(client: Client, state: &LiveState, metrics: &Metrics) {
    metrics.watches.begin(Watched::Claims);
    let api = Api::<PersistentVolumeClaim>::all(client);
    let mut changes = pin!(changes_of_labelled(api, POOL, Watched::Claims, metrics));
    while let Some(change) = changes.next().await {
        match change {
            Change::All(all) => {
                let claims = Arc::new(Claims::new(all.iter().filter_map(claim_of)));
                info!(claims = claims.iter().count(), "claims of pools known");
                state.update(|state| state.claims = Some(Arc::clone(&claims)));
            }
            Change::Applied(object) => {
                if let Some(claim) = claim_of(&object) {
                    edit(state, |claims| claims.apply(claim.clone()));
                }
            }
            Change::Deleted(object) => {
                if let Some(claim) = claim_of(&object) {
                    edit(state, |claims| claims.remove(&claim));
                }
            }
        }
    }
}

/// Changes the claims in the cluster state, if they are known.
pub(super) fn edit(state: &LiveState, change: impl Fn(&mut Claims)) {
    state.update(|state| {
        if let Some(claims) = &mut state.claims {
            change(Arc::make_mut(claims));
        }
    });
}

/// Removes the claims from the cluster state.
pub(super) fn forget(state: &LiveState, metrics: &Metrics) {
    metrics.watches.end(Watched::Claims);
    state.update(|state| state.claims = None);
}
