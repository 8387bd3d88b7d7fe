//! Creates and deletes the claims of pools.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use k8s_openapi::{api::core::v1::PersistentVolumeClaim, jiff::Timestamp};
use serde_json::json;
use slipway_core::{
    cache::claims::{
        Claim, ClaimPoolKey, Claims, POOL,
        upkeep::{UpkeepAction, plan_upkeep},
    },
    decide::profile_of,
    k8s::namespace::Namespace,
    policy::{ClaimPool, Policy},
};

use super::calls::Calls;
use crate::cluster::state::ClusterState;

/// What one leader remembers in order to create claims.
#[derive(Default)]
pub(super) struct PoolUpkeep {
    /// The names that cannot be used for new claims, by namespace.
    taken: HashMap<String, BTreeSet<String>>,
}

impl PoolUpkeep {
    /// Creates and deletes claims until every pool is as the policy wants it.
    pub(super) async fn keep_up(&mut self, calls: &Calls, state: &ClusterState, claims: &Claims) {
        let namespaces = state.namespaces.iter().flat_map(|all| all.iter());
        let wanted = wanted_pools(namespaces, &state.policy);
        let pools: BTreeSet<&ClaimPoolKey> = wanted.keys().chain(claims.pools()).collect();
        for pool in pools {
            let settings = wanted.get(pool).copied();
            let present: Vec<Arc<Claim>> = claims.of_pool(pool).cloned().collect();
            let taken = self.taken.entry(pool.namespace.clone()).or_default();
            let now = Timestamp::now();
            for action in plan_upkeep(&pool.profile, settings, &present, taken, now) {
                match (action, settings) {
                    (UpkeepAction::Delete(claim), _) => calls.delete(&claim).await,
                    (UpkeepAction::Create(name), Some(settings)) => {
                        let is_taken = calls.create(&new_claim(pool, &name, settings)).await;
                        if is_taken {
                            taken.insert(name);
                        }
                    }
                    (UpkeepAction::Create(_), None) => {}
                }
            }
        }
    }
}

/// Returns the pools that the policy defines for these namespaces.
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

/// Describes a new claim of a pool.
fn new_claim(pool: &ClaimPoolKey, name: &str, settings: &ClaimPool) -> PersistentVolumeClaim {
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
    // All values are strings, so this cannot fail; the API server would refuse an empty claim.
    serde_json::from_value(claim).unwrap_or_default()
}
