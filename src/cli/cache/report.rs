//! The report on caches, as text or JSON is made of it. Pure.

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

use super::survey::Survey;
use crate::{
    cache_claims::{PodObject, holders, wanted_pools},
    cli::problem::Problem,
};

/// The report.
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
    /// How many claims there may be; `None` when the policy has no such pool, or could not be read.
    pub(super) size: Option<u16>,
    pub(super) claims: usize,
    pub(super) leased: usize,
    pub(super) free: usize,
    pub(super) blank: usize,
    pub(super) terminating: usize,
    pub(super) hits: Hits,
}

/// How often pods found the layers of their own cache key. Deleted claims no longer count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hits {
    pub(super) leases: u64,
    pub(super) warm_leases: u64,
    /// Warm leases per lease, 0 to 1; `None` before the first lease.
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
    /// The live pods that use it, at most one if all is well; `None` when pods could not be read.
    pub(super) pods: Option<Vec<String>>,
    /// The pod that it was leased to, if its name was known then.
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
    /// `None` when namespaces could not be read.
    pub(super) namespace: Option<String>,
    pub(super) root: String,
    /// How many slots one key has on one node.
    pub(super) slots: u8,
    pub(super) budget: Option<Quantity>,
    pub(super) key: CacheKeySource,
    /// The live pods that could use one, by cache key; `None` when pods could not be read.
    pub(super) pods: Option<BTreeMap<String, Vec<String>>>,
}

impl Report {
    /// Creates the report on a survey.
    pub(super) fn of(survey: &Survey) -> Self {
        let mut problems = unread(survey);
        let claims: Vec<ClaimLine> = survey
            .claims
            .iter()
            .map(|claim| line(claim, survey))
            .collect();
        for (claim, line) in survey.claims.iter().zip(&claims) {
            problems.extend(misuse(claim, line));
        }
        Self {
            pools: pools(survey),
            claims,
            node_slots: node_slots(survey),
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

/// Names what could not be read.
fn unread(survey: &Survey) -> Vec<Problem> {
    let unread = |about: &str, why: &str, remedy: &str| {
        Problem::warning(about, format!("not read: {why}"), remedy)
    };
    let mut problems = Vec::new();
    if let Err(why) = &survey.policy {
        let remedy = "name a policy file with --policy; without one, node slots and sizes of pools are not shown";
        problems.push(unread("policy", why, remedy));
    }
    if let Err(why) = &survey.namespaces {
        let remedy = "allow `list` of namespaces, limitranges and resourcequotas; without it, pools without claims are not shown";
        problems.push(unread("namespaces", why, remedy));
    }
    for (namespace, pods) in &survey.pods {
        if let Err(why) = pods {
            let remedy =
                "allow `list` of pods there; without it, the pods that use a cache are not shown";
            problems.push(unread(&format!("pods of {namespace}"), why, remedy));
        }
    }
    problems
}

fn line(claim: &Claim, survey: &Survey) -> ClaimLine {
    let pods = survey
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

/// Finds claims that several pods use, or a pod without a lease.
fn misuse(claim: &Claim, line: &ClaimLine) -> Option<Problem> {
    let about = format!("claim {}/{}", claim.namespace, claim.name);
    let pods = line.pods.as_deref().unwrap_or_default();
    let is_leased = claim.annotations.lease.is_some() || claim.terminating;
    match pods {
        [pod] if !is_leased => Some(Problem::warning(
            &about,
            format!("pod {pod} uses it without a lease, so another pod may be given it"),
            "remove the claim from the pod's manifest: only the webhook gives claims of a pool to pods",
        )),
        [] | [_] => None,
        several => Some(Problem::error(
            &about,
            format!(
                "pods {} use it at once: two dockerds corrupt one data-root",
                several.join(", ")
            ),
            "delete all but one of these pods, then run `slipway cache evict` for the claim",
        )),
    }
}

/// Returns the pools that the policy defines, and those that only have claims left.
fn pools(survey: &Survey) -> Vec<PoolLine> {
    let wanted = match (&survey.policy, &survey.namespaces) {
        (Ok(policy), Ok(namespaces)) => wanted_pools(namespaces.iter(), policy),
        _ => BTreeMap::new(),
    };
    let of_claims = survey.claims.iter().map(Claim::pool_key);
    let names: BTreeSet<ClaimPoolKey> = wanted.keys().cloned().chain(of_claims).collect();
    names
        .into_iter()
        .map(|name| {
            let claims: Vec<&Claim> = survey
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

fn node_slots(survey: &Survey) -> Vec<SlotsLine> {
    let Ok(policy) = &survey.policy else {
        return Vec::new();
    };
    let Ok(namespaces) = &survey.namespaces else {
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
        let pods = survey
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

/// Returns the live pods that can use the slots of a key: those that mount its directory.
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
