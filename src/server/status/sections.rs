//! The sections of the status report, each read from the cluster state or from the replica itself.

use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use slipway_core::{
    cache::claims::Claim,
    decide::profile_or_reason,
    k8s::namespace::{Namespace, PodSecurity},
    nodes::Snapshot,
    policy::{Policy, Profile},
};

use super::decisions::Decided;
use crate::{cluster::state::ClusterState, metrics::Watched, tls::ServingCertificate};

/// The policy in force.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyStatus {
    pub(super) file: Option<String>,
    pub(super) in_force_since: Option<String>,
    pub(super) error: Option<String>,
    pub(super) refused_at: Option<String>,
    pub(super) warnings: Vec<String>,
    pub(super) profiles: Vec<ProfileStatus>,
}

/// A profile.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProfileStatus {
    pub(super) name: String,
    pub(super) strategy: String,
    pub(super) host_access: bool,
    pub(super) selectable: bool,
    pub(super) cache: String,
}

/// A registry mirror that the policy names.
#[derive(Debug, Serialize)]
pub(super) struct MirrorStatus {
    pub(super) url: String,
    pub(super) up: Option<bool>,
}

/// The serving certificate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CertificateStatus {
    pub(super) expires_at: Option<String>,
    pub(super) expires_in_seconds: Option<i64>,
    pub(super) problem: Option<String>,
}

/// How old the state of a resource may be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WatchStatus {
    pub(super) resource: &'static str,
    pub(super) age_seconds: u64,
}

/// The nodes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodesStatus {
    pub(super) known: usize,
    pub(super) runtimes: Vec<RuntimeCount>,
    pub(super) pools: Vec<PoolStatus>,
}

/// The number of nodes with a runtime.
#[derive(Debug, Serialize)]
pub(super) struct RuntimeCount {
    pub(super) runtime: &'static str,
    pub(super) nodes: usize,
}

/// The nodes of one pool with the same runtime, socket and restriction.
#[derive(Debug, Serialize)]
pub(super) struct PoolStatus {
    pub(super) label: Option<&'static str>,
    pub(super) pool: Option<String>,
    pub(super) runtime: &'static str,
    pub(super) socket: Option<String>,
    pub(super) restriction: Option<String>,
    pub(super) nodes: usize,
    pub(super) cordoned: usize,
}

/// The namespaces.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NamespacesStatus {
    pub(super) known: usize,
    pub(super) opted_in: Vec<NamespaceStatus>,
}

/// A namespace that has opted in.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NamespaceStatus {
    pub(super) name: String,
    pub(super) profile: Option<String>,
    pub(super) problem: Option<String>,
    pub(super) pod_security: String,
    pub(super) host_access: bool,
}

/// A claim of a pool.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClaimStatus {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) profile: String,
    pub(super) state: &'static str,
    pub(super) pod: Option<String>,
    pub(super) key: Option<String>,
    pub(super) size: Option<String>,
    pub(super) last_used: Option<String>,
    pub(super) leases: u64,
    pub(super) warm_leases: u64,
}

/// A decision.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DecisionStatus {
    pub(super) time: String,
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) dry_run: bool,
    pub(super) system: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) strategy: &'static str,
    pub(super) reason: &'static str,
    pub(super) reasons: Vec<&'static str>,
    pub(super) operations: usize,
    pub(super) duration_microseconds: u64,
}

impl PolicyStatus {
    pub(super) fn of(state: &ClusterState) -> Self {
        let (policy, load) = (&state.policy, &state.policy_load);
        let profiles = policy
            .profile_names()
            .filter_map(|name| policy.profile(name));
        Self {
            file: load.file.as_deref().map(str::to_owned),
            in_force_since: load.in_force_since.map(seconds),
            error: state.policy_error.as_deref().map(str::to_owned),
            refused_at: load.refused_at.map(seconds),
            warnings: policy.warnings(),
            profiles: profiles.map(ProfileStatus::of).collect(),
        }
    }
}

impl ProfileStatus {
    fn of((name, profile): (&str, &Profile)) -> Self {
        // The spelling of the policy file.
        let written = |value: Result<serde_json::Value, _>| {
            let text = value
                .ok()
                .and_then(|value| Some(value.as_str()?.to_owned()));
            text.unwrap_or_default()
        };
        let cache = serde_json::to_value(&profile.dind.cache);
        let cache = cache.map(|mut cache| {
            cache
                .get_mut("type")
                .map(serde_json::Value::take)
                .unwrap_or_default()
        });
        Self {
            name: name.to_owned(),
            strategy: written(serde_json::to_value(profile.strategy)),
            host_access: profile.host_access,
            selectable: profile.selectable,
            cache: written(cache),
        }
    }
}

impl CertificateStatus {
    pub(super) fn of(certificate: &ServingCertificate, now: SystemTime) -> Self {
        let expires_at = certificate.expires_at();
        let distance = |at: SystemTime| match at.duration_since(now) {
            Ok(left) => i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            Err(past) => -i64::try_from(past.duration().as_secs()).unwrap_or(i64::MAX),
        };
        Self {
            expires_at: expires_at.map(seconds),
            expires_in_seconds: expires_at.map(distance),
            problem: certificate.problem(),
        }
    }
}

impl WatchStatus {
    pub(super) fn of((watched, age): (Watched, Duration)) -> Self {
        Self {
            resource: watched.into_str(),
            age_seconds: age.as_secs(),
        }
    }
}

impl NodesStatus {
    pub(super) fn of(nodes: &Snapshot) -> Self {
        let runtimes = nodes.count_by_runtime().into_iter();
        let pools = nodes.count_by_node_pool().into_iter();
        Self {
            known: nodes.len(),
            runtimes: runtimes
                .map(|(kind, nodes)| RuntimeCount {
                    runtime: kind.name(),
                    nodes,
                })
                .collect(),
            pools: pools
                .map(|(alike, count)| PoolStatus {
                    label: alike.label.map(|label| label.key),
                    pool: alike.label.map(|label| label.value.to_owned()),
                    runtime: alike.runtime.name(),
                    socket: alike.socket.map(str::to_owned),
                    restriction: alike.restriction.map(|restriction| restriction.to_string()),
                    nodes: count.nodes,
                    cordoned: count.cordoned,
                })
                .collect(),
        }
    }
}

impl NamespacesStatus {
    pub(super) fn of(state: &ClusterState) -> Option<Self> {
        let namespaces = state.namespaces.as_deref()?;
        let all = namespaces.iter();
        let mut opted_in: Vec<&Namespace> =
            all.filter(|namespace| namespace.is_enabled()).collect();
        opted_in.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let status = |namespace| NamespaceStatus::of(namespace, &state.policy);
        Some(Self {
            known: namespaces.len(),
            opted_in: opted_in.into_iter().map(status).collect(),
        })
    }
}

impl NamespaceStatus {
    fn of(namespace: &Namespace, policy: &Policy) -> Self {
        let profile = profile_or_reason(namespace, policy);
        let level = namespace.pod_security(policy.pod_security_default());
        let host_access = profile
            .as_ref()
            .is_ok_and(|(_, profile)| profile.host_access);
        Self {
            name: namespace.name.clone(),
            profile: profile.as_ref().ok().map(|(name, _)| (*name).to_owned()),
            problem: profile.err().map(|reason| reason.to_string()),
            pod_security: level.to_string(),
            host_access: host_access && level == PodSecurity::Privileged,
        }
    }
}

impl DecisionStatus {
    pub(super) fn of(decided: Decided) -> Self {
        let record = decided.record;
        Self {
            time: millis(decided.at),
            uid: short_hash(&record.uid),
            namespace: record.namespace,
            pod: record.pod,
            dry_run: record.dry_run,
            system: record.system,
            profile: record.profile,
            strategy: record.strategy.as_str(),
            reason: record.reason,
            reasons: record.reasons,
            operations: record.operations,
            duration_microseconds: u64::try_from(decided.took.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

/// Lists the registry mirrors of the policy.
pub(super) fn mirrors(state: &ClusterState) -> Vec<MirrorStatus> {
    let is_dead = |url: &str| state.dead_mirrors.iter().any(|dead| dead == url);
    let mirrors = state.policy.registry_mirrors().into_iter();
    mirrors
        .map(|mirror| MirrorStatus {
            url: mirror.to_string(),
            up: state.mirrors_probed.then(|| !is_dead(mirror.as_str())),
        })
        .collect()
}

/// Lists the claims of pools.
pub(super) fn claims(state: &ClusterState) -> Option<Vec<ClaimStatus>> {
    let claims = state.claims.as_deref()?;
    let status = |claim: &Claim| ClaimStatus {
        namespace: claim.namespace.clone(),
        name: claim.name.clone(),
        profile: claim.profile.clone(),
        state: claim.state().as_str(),
        pod: claim
            .annotations
            .lease
            .as_ref()
            .map(|lease| lease.pod.clone()),
        key: claim.annotations.key.clone(),
        size: claim.size.clone(),
        last_used: claim.annotations.last_used.map(|at| at.to_string()),
        leases: claim.annotations.leases,
        warm_leases: claim.annotations.warm_leases,
    };
    Some(claims.iter().map(|claim| status(claim)).collect())
}

/// Returns the beginning of the SHA-256 of a request's uid. The uid itself may be the lease of a claim, and
/// anyone who reaches the page could repeat it.
fn short_hash(uid: &str) -> String {
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(uid).into();
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}

/// Formats a time as RFC 3339, in whole seconds.
pub(super) fn seconds(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or_default();
    Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string()
}

/// Formats a time as RFC 3339, with milliseconds.
fn millis(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or_default();
    format!("{at:.3}")
}
