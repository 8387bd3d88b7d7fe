//! The survey of a cluster by `slipway cache`. What the command may not read is left out, with the
//! reason.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, Client, api::ListParams};
use slipway_core::{
    cache::claims::{Claim, POOL},
    decide::profile_of,
    k8s::namespace::{Namespace, Namespaces},
    policy::Policy,
};

use super::ListArgs;
use crate::{
    cache_claims::{PodObject, claim_of},
    cli::queries::{Answer, SourcedPolicy, in_words},
    cluster::watch::{list_namespaces, list_pages},
};

/// What was found in a cluster.
pub(super) struct Survey {
    /// The claims of pools.
    pub(super) claims: Vec<Claim>,
    pub(super) policy: Answer<Policy>,
    /// The namespaces that the command is about.
    pub(super) namespaces: Answer<Vec<Namespace>>,
    /// The pods of the namespaces with a cache.
    pub(super) pods: BTreeMap<String, Answer<Vec<PodObject>>>,
}

/// Surveys a cluster. A `policy` from a file replaces the installed one.
///
/// # Errors
/// When the claims cannot be listed.
pub(super) async fn survey(
    client: Client,
    args: &ListArgs,
    policy: Option<Policy>,
) -> anyhow::Result<Survey> {
    let claims = list_claims(&client, args.namespace.as_deref())
        .await
        .context("failed to list the claims of pools")?;
    let policy = match policy {
        Some(policy) => Ok(policy),
        None => SourcedPolicy::installed(&client, &args.installed_in)
            .await
            .usable(),
    };
    let namespaces = list_namespaces(client.clone()).await;
    let namespaces = namespaces
        .map(|all| selected(&all, args.namespace.as_deref()))
        .map_err(|error| in_words(&error));
    let mut pods = BTreeMap::new();
    for namespace in with_a_cache(&claims, &policy, &namespaces) {
        let api = Api::namespaced(client.clone(), &namespace);
        let list = list_pages(&api, ListParams::default()).await;
        pods.insert(namespace, list.map_err(|error| in_words(&error)));
    }
    Ok(Survey {
        claims,
        policy,
        namespaces,
        pods,
    })
}

/// Lists the claims of pools, in one namespace or in all.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub(super) async fn list_claims(
    client: &Client,
    namespace: Option<&str>,
) -> kube::Result<Vec<Claim>> {
    let api: Api<PersistentVolumeClaim> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let objects = list_pages(&api, ListParams::default().labels(POOL)).await?;
    Ok(objects.iter().filter_map(claim_of).collect())
}

fn selected(all: &Namespaces, name: Option<&str>) -> Vec<Namespace> {
    let selected = all
        .iter()
        .filter(|namespace| name.is_none_or(|name| namespace.name == name));
    selected.cloned().collect()
}

/// Returns the namespaces whose pods may have a cache.
fn with_a_cache(
    claims: &[Claim],
    policy: &Answer<Policy>,
    namespaces: &Answer<Vec<Namespace>>,
) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = claims.iter().map(|claim| claim.namespace.clone()).collect();
    if let (Ok(policy), Ok(namespaces)) = (policy, namespaces) {
        let has_slots = |namespace: &&Namespace| {
            profile_of(namespace, policy)
                .is_some_and(|(_, profile)| profile.dind.cache.node_slots().is_some())
        };
        let with_slots = namespaces.iter().filter(has_slots);
        names.extend(with_slots.map(|namespace| namespace.name.clone()));
    }
    names
}
