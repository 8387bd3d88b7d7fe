//! What is told of caches, also as JSON. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use slipway_core::{
    cache::claims::{Claim, ClaimPoolKey, claim::ClaimState},
    decide::profile_of,
    k8s::quantity::Quantity,
    policy::{CacheKeySource, NodeSlots},
};

use super::look::Seen;
use crate::{
    cache_claims::{PodObject, holders, wanted_pools},
    cli::problem::Problem,
};

/// All of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) pools: Vec<PoolLine>,
    pub(super) claims: Vec<ClaimLine>,
    pub(super) node_slots: Vec<SlotsLine>,
    pub(super) problems: Vec<Problem>,
}

/// A pool: the claims of one namespace and profile.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolLine {
    pub(super) namespace: String,
    pub(super) profile: String,
    /// How many claims there may be; `None` when the policy has no such pool, or was not seen.
    pub(super) size: Option<u16>,
    pub(super) claims: usize,
    pub(super) leased: usize,
    pub(super) free: usize,
    pub(super) blank: usize,
    pub(super) terminating: usize,
    pub(super) hits: Hits,
}

/// How often pods found the layers of their own cache key. Of the claims that there are: those that
/// are gone took their counts along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hits {
    pub(super) leases: u64,
    pub(super) warm_leases: u64,
    /// Warm ones of all, 0 to 1; `None` before the first.
    pub(super) ratio: Option<f64>,
}

/// A claim.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClaimLine {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) profile: String,
    pub(super) state: &'static str,
    /// The live pods that have it: one, or none yet or any more; `None` when pods were not seen.
    pub(super) pods: Option<Vec<String>>,
    /// Whom it was leased to, as far as its name was known then.
    pub(super) leased_to: Option<String>,
    pub(super) cache_key: Option<String>,
    #[serde(serialize_with = "as_text")]
    pub(super) last_used: Option<Timestamp>,
    pub(super) hits: Hits,
    pub(super) size: Option<String>,
    pub(super) volume: Option<String>,
}

/// The node slots of a profile, in one namespace that has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SlotsLine {
    pub(super) profile: String,
    /// `None` when namespaces were not seen.
    pub(super) namespace: Option<String>,
    pub(super) root: String,
    /// How many there are for one key on one node.
    pub(super) slots: u8,
    pub(super) budget: Option<Quantity>,
    pub(super) key: CacheKeySource,
    /// The live pods that could have one, by cache key; `None` when pods were not seen.
    pub(super) pods: Option<BTreeMap<String, Vec<String>>>,
}

impl Report {
    /// What is to be told of all that was seen.
    pub(super) fn of(seen: &Seen) -> Self {
        let mut problems = unseen(seen);
        let claims: Vec<ClaimLine> = seen.claims.iter().map(|claim| line(claim, seen)).collect();
        for (claim, line) in seen.claims.iter().zip(&claims) {
            problems.extend(misuse(claim, line));
        }
        Self {
            pools: pools(seen),
            claims,
            node_slots: node_slots(seen),
            problems,
        }
    }
}

impl Hits {
    fn new(leases: u64, warm_leases: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let ratio = (leases > 0).then(|| warm_leases as f64 / leases as f64);
        Self {
            leases,
            warm_leases,
            ratio,
        }
    }
}

/// What could not be looked at.
fn unseen(seen: &Seen) -> Vec<Problem> {
    let missing = |about: &str, why: &str, lacks: &str| {
        Problem::warning(about, format!("not looked at: {why}"), lacks)
    };
    let mut problems = Vec::new();
    if let Err(why) = &seen.policy {
        let lacks = "name a policy file with --policy; without one, node slots and sizes of pools are not shown";
        problems.push(missing("policy", why, lacks));
    }
    if let Err(why) = &seen.namespaces {
        let lacks = "allow `list` of namespaces, limitranges and resourcequotas; without it, pools without claims are not shown";
        problems.push(missing("namespaces", why, lacks));
    }
    for (namespace, pods) in &seen.pods {
        if let Err(why) = pods {
            let lacks =
                "allow `list` of pods there; without it, the pods that have a cache are not shown";
            problems.push(missing(&format!("pods of {namespace}"), why, lacks));
        }
    }
    problems
}

fn line(claim: &Claim, seen: &Seen) -> ClaimLine {
    let pods = seen
        .pods
        .get(&claim.namespace)
        .and_then(|pods| pods.as_ref().ok());
    let annotations = &claim.annotations;
    let leased_to = annotations.lease.as_ref().map(|lease| lease.pod.clone());
    ClaimLine {
        namespace: claim.namespace.clone(),
        name: claim.name.clone(),
        profile: claim.profile.clone(),
        state: claim.state().as_str(),
        pods: pods.map(|pods| holders(claim, pods).map(ResourceExt::name_any).collect()),
        leased_to: leased_to.filter(|pod| !pod.is_empty()),
        cache_key: annotations.key.clone(),
        last_used: annotations.last_used,
        hits: Hits::new(annotations.leases, annotations.warm_leases),
        size: claim.size.clone(),
        volume: claim.volume.clone(),
    }
}

/// A claim has one pod, and that one has a lease.
fn misuse(claim: &Claim, line: &ClaimLine) -> Option<Problem> {
    let about = format!("claim {}/{}", claim.namespace, claim.name);
    let pods = line.pods.as_deref().unwrap_or_default();
    let is_leased = claim.annotations.lease.is_some() || claim.terminating;
    match pods {
        [pod] if !is_leased => Some(Problem::warning(
            &about,
            format!("pod {pod} uses it without a lease, so another pod may be given it"),
            "take the claim out of the pod's manifest: claims of a pool are for the webhook to give",
        )),
        [] | [_] => None,
        several => Some(Problem::error(
            &about,
            format!(
                "pods {} have it at once: two dockerds break one data-root",
                several.join(", ")
            ),
            "delete all of these pods but one, then `slipway cache evict` the claim",
        )),
    }
}

/// The pools that the policy asks for, and those that have claims all the same.
fn pools(seen: &Seen) -> Vec<PoolLine> {
    let wanted = match (&seen.policy, &seen.namespaces) {
        (Ok(policy), Ok(namespaces)) => wanted_pools(namespaces.iter(), policy),
        _ => BTreeMap::new(),
    };
    let of_claims = seen.claims.iter().map(Claim::pool_key);
    let names: BTreeSet<ClaimPoolKey> = wanted.keys().cloned().chain(of_claims).collect();
    names
        .into_iter()
        .map(|name| {
            let claims: Vec<&Claim> = seen
                .claims
                .iter()
                .filter(|c| c.pool_key() == name)
                .collect();
            let count = |state| claims.iter().filter(|claim| claim.state() == state).count();
            let sum = |of: fn(&Claim) -> u64| claims.iter().map(|claim| of(claim)).sum();
            PoolLine {
                size: wanted.get(&name).map(|pool| pool.claims),
                claims: claims.len(),
                leased: count(ClaimState::Leased),
                free: count(ClaimState::Free),
                blank: count(ClaimState::Blank),
                terminating: count(ClaimState::Terminating),
                hits: Hits::new(
                    sum(|c| c.annotations.leases),
                    sum(|c| c.annotations.warm_leases),
                ),
                namespace: name.namespace,
                profile: name.profile,
            }
        })
        .collect()
}

fn node_slots(seen: &Seen) -> Vec<SlotsLine> {
    let Ok(policy) = &seen.policy else {
        return Vec::new();
    };
    let Ok(namespaces) = &seen.namespaces else {
        let profiles = policy
            .profile_names()
            .filter_map(|name| policy.profile(name));
        return profiles
            .filter_map(|(name, profile)| {
                Some(slots_line(
                    name,
                    None,
                    profile.dind.cache.node_slots()?,
                    None,
                ))
            })
            .collect();
    };
    let lines = namespaces.iter().filter_map(|namespace| {
        let (name, profile) = profile_of(namespace, policy)?;
        let slots = profile.dind.cache.node_slots()?;
        let pods = seen
            .pods
            .get(&namespace.name)
            .and_then(|pods| pods.as_ref().ok());
        let pods = pods.map(|pods| by_key(slots, &namespace.name, pods));
        Some(slots_line(name, Some(namespace.name.clone()), slots, pods))
    });
    lines.collect()
}

fn slots_line(
    profile: &str,
    namespace: Option<String>,
    slots: &NodeSlots,
    pods: Option<BTreeMap<String, Vec<String>>>,
) -> SlotsLine {
    SlotsLine {
        profile: profile.to_owned(),
        namespace,
        root: slots.root.as_str().to_owned(),
        slots: slots.slots,
        budget: slots.budget.clone(),
        key: slots.key,
        pods,
    }
}

/// The live pods that see the slots of a key: those that mount its directory.
fn by_key(slots: &NodeSlots, namespace: &str, pods: &[PodObject]) -> BTreeMap<String, Vec<String>> {
    let root = slots.root.as_str().trim_end_matches('/');
    let own = format!("{root}/{namespace}/");
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.is_live()) {
        for key in pod.host_paths().filter_map(|path| path.strip_prefix(&own)) {
            keys.entry(key.to_owned()).or_default().push(pod.name_any());
        }
    }
    keys
}

#[expect(clippy::ref_option, reason = "what serde's derive calls")]
fn as_text<S: serde::Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}
