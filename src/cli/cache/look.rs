//! What `slipway cache` sees of a cluster. What it may not see stays unseen, with the reason.

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
    cli::check::cluster::{Read, in_words, installed_policy},
    cluster::watch::{list_namespaces, list_pages},
};

/// All that was seen.
pub(super) struct Seen {
    /// The claims of pools.
    pub(super) claims: Vec<Claim>,
    /// The policy.
    pub(super) policy: Read<Policy>,
    /// The namespaces that were asked for.
    pub(super) namespaces: Read<Vec<Namespace>>,
    /// The pods of namespaces with a cache.
    pub(super) pods: BTreeMap<String, Read<Vec<PodObject>>>,
}

/// Looks.
///
/// # Errors
/// When the claims cannot be listed.
pub(super) async fn look(
    client: Client,
    args: &ListArgs,
    policy: Option<(String, Policy)>,
) -> anyhow::Result<Seen> {
    let claims = list_claims(&client, args.namespace.as_deref())
        .await
        .context("failed to list the claims of pools")?;
    let policy = if let Some((_, policy)) = policy {
        Ok(policy)
    } else {
        let (source, policy) = installed_policy(&client, &args.installed_in).await;
        policy.and_then(|policy| policy.map_err(|error| format!("{source}: {error}")))
    };
    let namespaces = list_namespaces(client.clone()).await;
    let namespaces = namespaces
        .map(|all| wanted(&all, args.namespace.as_deref()))
        .map_err(|error| in_words(&error));
    let mut pods = BTreeMap::new();
    for namespace in with_a_cache(&claims, &policy, &namespaces) {
        let api = Api::namespaced(client.clone(), &namespace);
        let list = list_pages(&api, ListParams::default()).await;
        pods.insert(namespace, list.map_err(|error| in_words(&error)));
    }
    Ok(Seen {
        claims,
        policy,
        namespaces,
        pods,
    })
}

/// The claims of pools, of one namespace or of all.
///
/// # Errors
/// When the API server cannot be asked, or does not allow it.
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

fn wanted(all: &Namespaces, name: Option<&str>) -> Vec<Namespace> {
    let wanted = all
        .iter()
        .filter(|of| name.is_none_or(|name| of.name == name));
    wanted.cloned().collect()
}

/// The namespaces whose pods may have a cache.
fn with_a_cache(
    claims: &[Claim],
    policy: &Read<Policy>,
    namespaces: &Read<Vec<Namespace>>,
) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = claims.iter().map(|claim| claim.namespace.clone()).collect();
    if let (Ok(policy), Ok(namespaces)) = (policy, namespaces) {
        let has_slots = |namespace: &&Namespace| {
            profile_of(namespace, policy)
                .is_some_and(|(_, profile)| profile.dind.cache.node_slots().is_some())
        };
        names.extend(
            namespaces
                .iter()
                .filter(has_slots)
                .map(|of| of.name.clone()),
        );
    }
    names
}
