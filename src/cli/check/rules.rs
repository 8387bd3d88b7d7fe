//! Finds what is wrong in a survey. Each rule is pure and checks one thing.

mod webhook;

use std::collections::BTreeMap;

use kube::{ResourceExt, api::DynamicObject};
use slipway_core::{
    admission::evaluate,
    decide::Cluster,
    inject::STATUS,
    k8s::namespace::{INJECT, Namespace, Namespaces},
    nodes::Snapshot,
    pod::Pod,
    policy::{AccessMode, DEFAULT_PROFILE, DockerdCache, Policy},
};

use super::{
    Problem,
    survey::{MAX_PODS, Survey},
};
use crate::cli::{nodes, output::count, queries::Answer};
use webhook::webhook;

/// The first minor version of Kubernetes with `matchConditions`.
const MATCH_CONDITIONS_SINCE: u32 = 28;
/// The first minor version of Kubernetes with native sidecars.
const SIDECARS_SINCE: u32 = 29;

/// Finds all problems.
pub(super) fn problems(survey: &Survey) -> Vec<Problem> {
    let mut problems = Vec::new();
    version(survey, &mut problems);
    rights(survey, &mut problems);
    skipped(survey, &mut problems);
    if let Ok(nodes) = &survey.nodes {
        problems.extend(nodes::problems(nodes));
    }
    policy(survey, &mut problems);
    namespaces(survey, &mut problems);
    claims(survey, &mut problems);
    webhook(survey, &mut problems);
    pods(survey, &mut problems);
    problems
}

/// Returns the namespaces that have opted in, sorted by name.
pub(super) fn enabled(survey: &Survey) -> Vec<&Namespace> {
    let all = survey.namespaces.iter().flat_map(Namespaces::iter);
    let mut enabled: Vec<&Namespace> = all.filter(|namespace| namespace.is_enabled()).collect();
    enabled.sort_by(|a, b| a.name.cmp(&b.name));
    enabled
}

fn version(survey: &Survey, problems: &mut Vec<Problem>) {
    let minor = survey.version.minor;
    let about = format!("Kubernetes {}", survey.version.text);
    if minor < MATCH_CONDITIONS_SINCE {
        problems.push(Problem::warning(
            &about,
            "it has no match conditions: the API server calls the webhook for every new pod of the namespaces that have opted in",
            format!("nothing needs to be done; 1.{MATCH_CONDITIONS_SINCE} and later have them"),
        ));
    }
    if minor < SIDECARS_SINCE {
        problems.push(Problem::warning(
            &about,
            "it has no native sidecars: a dockerd that Slipway adds is a plain container, which keeps running when the job ends",
            format!("set `dind.inject: never`, or update to 1.{SIDECARS_SINCE} or later"),
        ));
    }
}

/// Names what could not be read, and so was not checked.
fn skipped(survey: &Survey, problems: &mut Vec<Problem>) {
    let of_namespaces = |unread: Vec<(&str, &String)>| {
        let (_, why) = *unread.first()?;
        let names: Vec<&str> = unread.iter().map(|(namespace, _)| *namespace).collect();
        Some(format!("not checked in {}: {why}", names.join(", ")))
    };
    let policy = survey.policy.result.as_ref().err();
    let kinds = [
        ("claims", of_namespaces(unread(&survey.claims))),
        ("pods", of_namespaces(unread(&survey.pods))),
        ("policy", policy.map(|why| format!("not checked: {why}"))),
    ];
    for (kind, what) in kinds {
        problems.extend(what.map(|what| {
            let remedy =
                "run this as a user who may list them; --policy reads the policy from a file";
            Problem::warning(kind, what, remedy)
        }));
    }
    let many = read(&survey.pods).filter(|(_, pods)| pods.len() >= MAX_PODS as usize);
    problems.extend(many.map(|(namespace, _)| {
        Problem::warning(
            &format!("namespace {namespace}"),
            format!("only {MAX_PODS} of its pods were checked"),
            "nothing needs to be done",
        )
    }));
}

/// Names the lists that the server cannot work without.
fn rights(survey: &Survey, problems: &mut Vec<Problem>) {
    let needed = [
        ("nodes", survey.nodes.as_ref().err()),
        (
            "namespaces and limitranges",
            survey.namespaces.as_ref().err(),
        ),
    ];
    for (what, why) in needed {
        if let Some(why) = why {
            problems.push(Problem::error(
                what,
                format!("they cannot be listed: {why}"),
                "run this as a user who may list them; the chart's ClusterRole allows it for Slipway's service account",
            ));
        }
    }
}

fn policy(survey: &Survey, problems: &mut Vec<Problem>) {
    match &survey.policy.result {
        // Reported with everything else that could not be read.
        Err(_) => {}
        Ok(Err(why)) => problems.push(Problem::error(
            &survey.policy.source,
            format!("it cannot be used, so no replica can start with it: {why}"),
            "fix `policy` in the chart's values; `slipway policy check` shows where",
        )),
        Ok(Ok(policy)) => problems.extend(policy.warnings().into_iter().map(|warning| {
            Problem::warning(
                &survey.policy.source,
                warning,
                "see docs/policy.md, or remove the setting",
            )
        })),
    }
}

fn namespaces(survey: &Survey, problems: &mut Vec<Problem>) {
    let enabled = enabled(survey);
    if survey.namespaces.is_ok() && enabled.is_empty() {
        problems.push(Problem::warning(
            "namespaces",
            "none has opted in, so nothing is injected anywhere",
            format!("kubectl label namespace NAME {INJECT}=enabled"),
        ));
    }
    let Some(policy) = survey.usable_policy() else {
        return;
    };
    for namespace in enabled {
        let about = format!("namespace {}", namespace.name);
        if namespace.is_protected() {
            problems.push(Problem::warning(
                &about,
                "it is labelled, but it belongs to the cluster itself: nothing is injected there",
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
            format!("it selects the profile `{asked}`, which the policy does not let namespaces select: its pods are left alone"),
            remedy,
        )),
        Some(_) => {}
    }
}

fn claims(survey: &Survey, problems: &mut Vec<Problem>) {
    let Some(policy) = survey.usable_policy() else {
        return;
    };
    for namespace in enabled(survey) {
        let name = policy
            .profile_for_namespace(&namespace.name)
            .or_else(|| namespace.profile())
            .unwrap_or(DEFAULT_PROFILE);
        let profile = policy.profile(name);
        let cache = profile.map(|(_, profile)| &profile.dind.cache);
        let (Some(DockerdCache::Pvc(wanted)), Some(Ok(claims))) =
            (cache, survey.claims.get(&namespace.name))
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
                format!("the claim `{claim_name}` is not ReadWriteOncePod, although the profile `{name}` says so: two dockerds could share it and corrupt its layers"),
                "create it with the access mode ReadWriteOncePod",
            ));
        }
    }
}

/// Finds runner pods that exist without a patch, although they would get one today.
fn pods(survey: &Survey, problems: &mut Vec<Problem>) {
    let (Ok(nodes), Ok(namespaces), Some(policy)) =
        (&survey.nodes, &survey.namespaces, survey.usable_policy())
    else {
        return;
    };
    let nodes = Snapshot::new(nodes.iter().cloned());
    let cluster = Cluster {
        nodes: Some(&nodes),
        namespaces,
        policy,
        dead_mirrors: &[],
        claims: None,
    };
    for (namespace, pods) in read(&survey.pods) {
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
                "pods from before the installation are replaced as their jobs end; for newer pods see docs/troubleshooting.md",
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

/// Returns why lists could not be read, by namespace.
fn unread<T>(all: &BTreeMap<String, Answer<Vec<T>>>) -> Vec<(&str, &String)> {
    all.iter()
        .filter_map(|(namespace, read)| Some((namespace.as_str(), read.as_ref().err()?)))
        .collect()
}

/// Returns the lists that could be read, by namespace.
fn read<T>(all: &BTreeMap<String, Answer<Vec<T>>>) -> impl Iterator<Item = (&str, &Vec<T>)> {
    all.iter()
        .filter_map(|(namespace, read)| Some((namespace.as_str(), read.as_ref().ok()?)))
}

#[cfg(test)]
mod tests;
