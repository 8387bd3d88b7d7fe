//! What is wrong with what was seen. Pure: each rule looks at one thing.

mod webhook;

use std::collections::BTreeMap;

use kube::{ResourceExt, api::DynamicObject};
use slipway_core::{
    admission::evaluate,
    cache::claims::Pools,
    decide::Cluster,
    inject::STATUS,
    k8s::namespace::{INJECT, Namespace, Namespaces},
    nodes::Snapshot,
    pod::Pod,
    policy::{AccessMode, DEFAULT_PROFILE, DockerdCache, Policy},
};

use super::{
    Problem,
    cluster::{MAX_PODS, Read, Seen},
};
use crate::cli::{nodes, output::count};
use webhook::webhook;

/// `matchConditions` are there from here on.
const MATCH_CONDITIONS_SINCE: u32 = 28;
/// Native sidecars are there from here on.
const SIDECARS_SINCE: u32 = 29;

/// All problems.
pub(super) fn problems(seen: &Seen) -> Vec<Problem> {
    let mut problems = Vec::new();
    version(seen, &mut problems);
    rights(seen, &mut problems);
    unseen(seen, &mut problems);
    if let Ok(nodes) = &seen.nodes {
        problems.extend(nodes::problems(nodes));
    }
    policy(seen, &mut problems);
    namespaces(seen, &mut problems);
    claims(seen, &mut problems);
    webhook(seen, &mut problems);
    pods(seen, &mut problems);
    problems
}

/// The namespaces that have opted in, by name.
pub(super) fn enabled(seen: &Seen) -> Vec<&Namespace> {
    let all = seen.namespaces.iter().flat_map(Namespaces::iter);
    let mut enabled: Vec<&Namespace> = all.filter(|namespace| namespace.is_enabled()).collect();
    enabled.sort_by(|a, b| a.name.cmp(&b.name));
    enabled
}

fn version(seen: &Seen, problems: &mut Vec<Problem>) {
    let (version, minor) = &seen.version;
    let about = format!("Kubernetes {version}");
    if *minor < MATCH_CONDITIONS_SINCE {
        problems.push(Problem::warning(
            &about,
            "it has no match conditions: the webhook is asked about every new pod of the namespaces that have opted in",
            format!("nothing needs to be done; 1.{MATCH_CONDITIONS_SINCE} and later have them"),
        ));
    }
    if *minor < SIDECARS_SINCE {
        problems.push(Problem::warning(
            &about,
            "it has no native sidecars: a dockerd that Slipway adds is a plain container, and does not end with the job",
            format!("set `dind.inject: never`, or update to 1.{SIDECARS_SINCE} or later"),
        ));
    }
}

/// What could not be looked at, and so was left out.
fn unseen(seen: &Seen, problems: &mut Vec<Problem>) {
    let of_namespaces = |unread: Vec<(&str, &String)>| {
        let (_, why) = *unread.first()?;
        let names: Vec<&str> = unread.iter().map(|(namespace, _)| *namespace).collect();
        Some(format!("not looked at in {}: {why}", names.join(", ")))
    };
    let policy = seen.policy.as_ref().err();
    let kinds = [
        ("claims", of_namespaces(unread(&seen.claims))),
        ("pods", of_namespaces(unread(&seen.pods))),
        ("policy", policy.map(|why| format!("not looked at: {why}"))),
    ];
    for (kind, what) in kinds {
        problems.extend(what.map(|what| {
            let remedy = "run this as someone who may list them; --policy takes a file";
            Problem::warning(kind, what, remedy)
        }));
    }
    let many = read(&seen.pods).filter(|(_, pods)| pods.len() >= MAX_PODS as usize);
    problems.extend(many.map(|(namespace, _)| {
        Problem::warning(
            &format!("namespace {namespace}"),
            format!("of its pods only {MAX_PODS} were looked at"),
            "nothing needs to be done",
        )
    }));
}

/// What the server cannot do without.
fn rights(seen: &Seen, problems: &mut Vec<Problem>) {
    let needed = [
        ("nodes", seen.nodes.as_ref().err()),
        ("namespaces and limitranges", seen.namespaces.as_ref().err()),
    ];
    for (what, why) in needed {
        if let Some(why) = why {
            problems.push(Problem::error(
                what,
                format!("they cannot be listed: {why}"),
                "run this as someone who may list them; the chart's ClusterRole lets its service account",
            ));
        }
    }
}

fn policy(seen: &Seen, problems: &mut Vec<Problem>) {
    match &seen.policy {
        // Said with all else that may not be read.
        Err(_) => {}
        Ok(Err(why)) => problems.push(Problem::error(
            &seen.policy_source,
            format!("it cannot be used, so no replica can start with it: {why}"),
            "mend `policy` in the chart's values; `slipway policy check` tells where",
        )),
        Ok(Ok(policy)) => problems.extend(policy.warnings().into_iter().map(|warning| {
            Problem::warning(
                &seen.policy_source,
                warning,
                "see docs/policy.md, or take the setting out",
            )
        })),
    }
}

fn namespaces(seen: &Seen, problems: &mut Vec<Problem>) {
    let enabled = enabled(seen);
    if seen.namespaces.is_ok() && enabled.is_empty() {
        problems.push(Problem::warning(
            "namespaces",
            "none has opted in, so nothing is injected anywhere",
            format!("kubectl label namespace NAME {INJECT}=enabled"),
        ));
    }
    let Some(policy) = seen.usable_policy() else {
        return;
    };
    for namespace in enabled {
        let about = format!("namespace {}", namespace.name);
        if namespace.is_protected() {
            problems.push(Problem::warning(
                &about,
                "it is labelled, but belongs to the cluster itself: nothing is injected there",
                format!("kubectl label namespace {} {INJECT}-", namespace.name),
            ));
        }
        profile(policy, namespace, &about, problems);
    }
}

fn profile(policy: &Policy, namespace: &Namespace, about: &str, problems: &mut Vec<Problem>) {
    let by_rule = policy.profile_for_namespace(&namespace.name);
    let (None, Some(asked)) = (by_rule, namespace.profile()) else {
        return;
    };
    let remedy = format!(
        "set the label slipway.io/profile to one of: {}",
        policy.profile_names().collect::<Vec<_>>().join(", ")
    );
    match policy.profile(asked) {
        None => problems.push(Problem::error(
            about,
            format!("it selects the profile `{asked}`, which the policy does not have: its pods are left alone"),
            remedy,
        )),
        Some((_, profile)) if !profile.selectable => problems.push(Problem::error(
            about,
            format!("it selects the profile `{asked}`, which the policy keeps for others: its pods are left alone"),
            remedy,
        )),
        Some(_) => {}
    }
}

fn claims(seen: &Seen, problems: &mut Vec<Problem>) {
    let Some(policy) = seen.usable_policy() else {
        return;
    };
    for namespace in enabled(seen) {
        let name = policy
            .profile_for_namespace(&namespace.name)
            .or_else(|| namespace.profile())
            .unwrap_or(DEFAULT_PROFILE);
        let profile = policy.profile(name);
        let cache = profile.map(|(_, profile)| &profile.dind.cache);
        let (Some(DockerdCache::Pvc(wanted)), Some(Ok(claims))) =
            (cache, seen.claims.get(&namespace.name))
        else {
            continue;
        };
        let claim_name = &wanted.claim_name;
        let about = format!("namespace {}", namespace.name);
        let claim = claims
            .iter()
            .find(|claim| claim.name_any() == claim_name.as_str());
        let Some(claim) = claim else {
            problems.push(Problem::error(
                &about,
                format!("the profile `{name}` mounts the claim `{claim_name}`, which is not there: its pods will not start"),
                "create the claim, or choose another cache for the profile",
            ));
            continue;
        };
        let modes = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.access_modes.clone());
        let single = modes.unwrap_or_default() == ["ReadWriteOncePod"];
        if wanted.access_mode == AccessMode::ReadWriteOncePod && !single {
            problems.push(Problem::error(
                &about,
                format!("the claim `{claim_name}` is not ReadWriteOncePod, as the profile `{name}` says: two dockerds could share it, and break"),
                "create it with the access mode ReadWriteOncePod",
            ));
        }
    }
}

/// Runner pods that are there and were not looked at, though they would get something today.
fn pods(seen: &Seen, problems: &mut Vec<Problem>) {
    let (Ok(nodes), Ok(namespaces), Some(policy)) =
        (&seen.nodes, &seen.namespaces, seen.usable_policy())
    else {
        return;
    };
    let nodes = Snapshot::new(nodes.iter().cloned());
    let cluster = Cluster {
        nodes: Some(&nodes),
        namespaces,
        policy,
        dead_mirrors: &[],
        pools: Pools::default(),
    };
    for (namespace, pods) in read(&seen.pods) {
        let missed: Vec<String> = pods
            .iter()
            .filter(|pod| was_missed(pod, namespace, cluster))
            .map(ResourceExt::name_any)
            .collect();
        if let Some(first) = missed.first() {
            problems.push(Problem::warning(
                &format!("namespace {namespace}"),
                format!(
                    "{} would get a patch and {} none, such as {first}",
                    count(missed.len(), "runner pod"),
                    if missed.len() == 1 { "has" } else { "have" },
                ),
                "pods from before the installation are replaced as jobs end; for newer ones see docs/troubleshooting.md",
            ));
        }
    }
}

fn was_missed(pod: &DynamicObject, namespace: &str, cluster: Cluster<'_>) -> bool {
    if pod.annotations().contains_key(STATUS) {
        return false;
    }
    let Ok(json) = serde_json::to_vec(pod) else {
        return false;
    };
    let Ok(pod) = Pod::parse(&json) else {
        return false;
    };
    !evaluate(&pod, namespace, cluster).patch.is_empty()
}

/// Why things could not be read, by namespace.
fn unread<T>(all: &BTreeMap<String, Read<Vec<T>>>) -> Vec<(&str, &String)> {
    all.iter()
        .filter_map(|(namespace, read)| Some((namespace.as_str(), read.as_ref().err()?)))
        .collect()
}

/// What could be read, by namespace.
fn read<T>(all: &BTreeMap<String, Read<Vec<T>>>) -> impl Iterator<Item = (&str, &Vec<T>)> {
    all.iter()
        .filter_map(|(namespace, read)| Some((namespace.as_str(), read.as_ref().ok()?)))
}

#[cfg(test)]
mod tests;
