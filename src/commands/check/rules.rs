//! What is wrong with what was seen. Pure: each rule looks at one thing.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;
use kube::{ResourceExt, api::DynamicObject};
use serde_json::{Map, Value};

use super::{
    Problem,
    cluster::{MAX_PODS, Read, Seen},
};
use crate::{
    admit::evaluate,
    certificates::last_end,
    commands::{nodes, output::count},
    decide::Cluster,
    inject::STATUS,
    namespace::{INJECT, Namespace, Namespaces},
    nodes::Snapshot,
    pod::Pod,
    policy::{AccessMode, DEFAULT_PROFILE, DockerdCache, Policy},
    pool::Pools,
};

/// `matchConditions` are there from here on.
const MATCH_CONDITIONS_SINCE: u32 = 28;
/// Native sidecars are there from here on.
const SIDECARS_SINCE: u32 = 29;
/// A webhook that may hold up a pod for longer than this is noticed.
const MAX_TIMEOUT_SECONDS: i32 = 10;
/// A CA that ends sooner is noticed: by then it should have been renewed.
const CA_SOON: Duration = Duration::from_secs(20 * 24 * 60 * 60);

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

/// What was seen, a line each.
pub(super) fn summary(seen: &Seen) -> Map<String, Value> {
    let enabled = enabled(seen);
    let names: Vec<&str> = enabled.iter().map(|n| n.name.as_str()).collect();
    let nodes = seen.nodes.as_ref().map_or_else(not_seen, |nodes| {
        let counts = Snapshot::new(nodes.iter().cloned()).count_by_runtime();
        let counts = counts.iter().map(|(kind, n)| format!("{n} with {kind}"));
        format!("{}: {}", nodes.len(), counts.collect::<Vec<_>>().join(", "))
    });
    let namespaces = seen.namespaces.as_ref().map_or_else(not_seen, |all| {
        let which = if names.is_empty() {
            String::new()
        } else {
            format!(": {}", names.join(", "))
        };
        format!("{} of {} have opted in{which}", names.len(), all.len())
    });
    let policy = match &seen.policy {
        Err(why) => not_seen(why),
        Ok(Err(_)) => format!("{}, which cannot be used", seen.policy_source),
        Ok(Ok(policy)) => {
            let profiles: Vec<&str> = policy.profile_names().collect();
            format!("{}; profiles: {}", seen.policy_source, profiles.join(", "))
        }
    };
    let ready = seen
        .ready
        .as_ref()
        .map_or_else(not_seen, |n| format!("{n} ready"));
    let webhook = match &seen.webhook {
        Ok(Some(_)) => format!("{}; replicas: {ready}", seen.webhook_name),
        Ok(None) => "not installed".to_owned(),
        Err(why) => not_seen(why),
    };
    [
        ("cluster", format!("Kubernetes {}", seen.version.0)),
        ("nodes", nodes),
        ("namespaces", namespaces),
        ("policy", policy),
        ("webhook", webhook),
    ]
    .into_iter()
    .map(|(name, words)| (name.to_owned(), Value::String(words)))
    .collect()
}

fn not_seen(why: &String) -> String {
    format!("not seen: {why}")
}

/// The namespaces that have opted in, by name.
fn enabled(seen: &Seen) -> Vec<&Namespace> {
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

fn webhook(seen: &Seen, problems: &mut Vec<Problem>) {
    let about = format!("MutatingWebhookConfiguration {}", seen.webhook_name);
    let configuration = match &seen.webhook {
        Ok(Some(configuration)) => configuration,
        Ok(None) => {
            problems.push(Problem::error(
                &about,
                "there is none: Slipway is not installed, or under another name",
                "install the chart, or name it with --webhook-configuration",
            ));
            return;
        }
        Err(why) => {
            problems.push(Problem::error(
                &about,
                format!("it cannot be read: {why}"),
                "run this as someone who may read it",
            ));
            return;
        }
    };
    let mut webhooks = configuration.webhooks.iter().flatten().peekable();
    if webhooks.peek().is_none() {
        problems.push(Problem::error(
            &about,
            "it has no webhooks: the API server asks nobody",
            "install the chart again",
        ));
    }
    for webhook in webhooks {
        one_webhook(webhook, seen.now, &about, problems);
    }
    if seen.ready == Ok(0) {
        problems.push(Problem::error(
            &about,
            "no replica behind its Service is ready: pods are created without Slipway",
            "look at the pods of the Deployment, and at what their /readyz says",
        ));
    }
}

/// A CA must be there, and be good for a while.
fn ca_problem(webhook: &str, bundle: &[u8], now: SystemTime, about: &str) -> Option<Problem> {
    let so = "the API server trusts no replica, and pods are created without Slipway";
    let remedy = "with self-made certificates the leader writes it: look for `certificate` in its log; otherwise see docs/certificates.md";
    let what = match last_end(bundle) {
        _ if bundle.is_empty() => format!("{webhook} has no caBundle: {so}"),
        None => format!("the caBundle of {webhook} holds no certificates: {so}"),
        Some(end) if end <= now => {
            format!("every CA in the caBundle of {webhook} has ended: {so}")
        }
        Some(end) if end <= now + CA_SOON => {
            let days = CA_SOON.as_secs() / (24 * 60 * 60);
            let what = format!("every CA in the caBundle of {webhook} ends within {days} days");
            return Some(Problem::warning(about, what, remedy));
        }
        Some(_) => return None,
    };
    Some(Problem::error(about, what, remedy))
}

fn one_webhook(
    webhook: &MutatingWebhook,
    now: SystemTime,
    about: &str,
    problems: &mut Vec<Problem>,
) {
    let bundle = webhook.client_config.ca_bundle.as_ref();
    let bundle = bundle.map_or(&[][..], |bundle| &bundle.0);
    problems.extend(ca_problem(&webhook.name, bundle, now, about));
    if webhook.failure_policy.as_deref() != Some("Ignore") {
        problems.push(Problem::warning(
            about,
            format!("{} has the failurePolicy Fail: no pod of the namespaces that have opted in is created while Slipway is down", webhook.name),
            "set `webhook.failurePolicy: Ignore` in the chart's values",
        ));
    }
    if webhook
        .timeout_seconds
        .is_none_or(|seconds| seconds > MAX_TIMEOUT_SECONDS)
    {
        problems.push(Problem::warning(
            about,
            format!(
                "{} may hold up a pod for more than {MAX_TIMEOUT_SECONDS} s",
                webhook.name
            ),
            "set `webhook.timeoutSeconds: 5` in the chart's values",
        ));
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
mod tests {
    use std::net::Ipv4Addr;

    use base64::{Engine, engine::general_purpose::STANDARD};
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;
    use crate::{commands::problem::Severity, server::tls::Identity};

    fn namespace(name: &str, labels: &[(&str, &str)]) -> Namespace {
        let labels = labels.iter().copied().chain([(INJECT, "enabled")]);
        Namespace {
            name: name.to_owned(),
            labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            ..Namespace::default()
        }
    }

    fn ca_bundle() -> String {
        let identity = Identity::generate(&[], Ipv4Addr::LOCALHOST.into()).unwrap();
        STANDARD.encode(identity.ca_pem)
    }

    /// A cluster in which all is well.
    fn healthy() -> Seen {
        let node = json!({"metadata": {"name": "n1"}, "status": {"nodeInfo": {"containerRuntimeVersion": "containerd://2.1"}}});
        let webhook = json!({"metadata": {"name": "slipway"}, "webhooks": [{
            "name": "inject.slipway.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"caBundle": ca_bundle()}, "failurePolicy": "Ignore", "timeoutSeconds": 5
        }]});
        Seen {
            now: SystemTime::now(),
            version: ("v1.36.2".to_owned(), 36),
            nodes: Ok(vec![serde_json::from_value(node).unwrap()]),
            namespaces: Ok(Namespaces::new([namespace("ci", &[])])),
            policy_source: "built-in".to_owned(),
            policy: Ok(Ok(Policy::default())),
            webhook_name: "slipway".to_owned(),
            webhook: Ok(Some(serde_json::from_value(webhook).unwrap())),
            ready: Ok(2),
            claims: BTreeMap::new(),
            pods: BTreeMap::new(),
        }
    }

    /// The one problem that a change of the healthy cluster makes.
    fn problem(change: impl FnOnce(&mut Seen)) -> Problem {
        let mut seen = healthy();
        change(&mut seen);
        let problems = problems(&seen);
        let [problem] = &problems[..] else {
            panic!("{problems:#?}");
        };
        problem.clone()
    }

    #[test]
    fn a_healthy_cluster_has_no_problems_and_a_summary() {
        assert_eq!(problems(&healthy()), []);
        assert_eq!(
            Value::Object(summary(&healthy())),
            json!({
                "cluster": "Kubernetes v1.36.2",
                "nodes": "1: 1 with containerd",
                "namespaces": "1 of 1 have opted in: ci",
                "policy": "built-in; profiles: default",
                "webhook": "slipway; replicas: 2 ready",
            })
        );
    }

    #[test]
    fn each_thing_that_is_broken_is_found_alone() {
        let policy = |text: &str| Ok(Policy::parse(text));
        let broken: [(&str, Problem); 8] = [
            ("not installed", problem(|seen| seen.webhook = Ok(None))),
            ("no replica", problem(|seen| seen.ready = Ok(0))),
            (
                "cannot be used",
                problem(|seen| seen.policy = policy("profiles: {a: {mtuu: 1}}")),
            ),
            (
                "cannot be listed",
                problem(|seen| seen.nodes = Err("forbidden".to_owned())),
            ),
            (
                "does not have",
                problem(|seen| {
                    seen.namespaces = Ok(Namespaces::new([namespace(
                        "ci",
                        &[("slipway.io/profile", "fsat")],
                    )]));
                }),
            ),
            (
                "keeps for others",
                problem(|seen| {
                    seen.policy = policy("profiles: {root: {selectable: false}}");
                    seen.namespaces = Ok(Namespaces::new([namespace(
                        "ci",
                        &[("slipway.io/profile", "root")],
                    )]));
                }),
            ),
            (
                "which is not there",
                problem(|seen| {
                    seen.policy = policy(
                        "profiles: {default: {dind: {cache: {type: pvc, claimName: c, accessMode: ReadWriteOncePod}}}}",
                    );
                    seen.claims = [("ci".to_owned(), Ok(vec![]))].into();
                }),
            ),
            (
                "no caBundle",
                problem(|seen| {
                    let webhook = seen.webhook.as_mut().unwrap().as_mut().unwrap();
                    webhook.webhooks.as_mut().unwrap()[0]
                        .client_config
                        .ca_bundle = None;
                }),
            ),
        ];
        for (words, problem) in broken {
            assert_eq!(problem.severity, Severity::Error, "{problem:?}");
            assert!(problem.what.contains(words), "{words}: {problem:?}");
        }
    }

    #[test]
    fn what_works_less_well_is_a_warning() {
        let odd = [
            (
                "belongs to the cluster",
                problem(|seen| {
                    seen.namespaces = Ok(Namespaces::new([namespace("kube-public", &[])]));
                }),
            ),
            (
                "none has opted in",
                problem(|seen| seen.namespaces = Ok(Namespaces::default())),
            ),
            ("match conditions", {
                let mut seen = healthy();
                seen.version.1 = 27;
                problems(&seen).remove(0)
            }),
            (
                "failurePolicy Fail",
                problem(|seen| {
                    let webhook = seen.webhook.as_mut().unwrap().as_mut().unwrap();
                    webhook.webhooks.as_mut().unwrap()[0].failure_policy = Some("Fail".to_owned());
                }),
            ),
        ];
        for (words, problem) in odd {
            assert_eq!(problem.severity, Severity::Warning, "{problem:?}");
            assert!(problem.what.contains(words), "{words}: {problem:?}");
        }
    }

    #[test]
    fn a_ca_bundle_is_looked_into() {
        let set = |seen: &mut Seen, bundle: &[u8]| {
            let webhook = seen.webhook.as_mut().unwrap().as_mut().unwrap();
            let bundle = Some(ByteString(bundle.to_vec()));
            webhook.webhooks.as_mut().unwrap()[0]
                .client_config
                .ca_bundle = bundle;
        };
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        let garbage = problem(|seen| set(seen, b"CA"));
        assert!(
            garbage.what.contains("holds no certificates"),
            "{garbage:?}"
        );
        let ended = problem(|seen| seen.now += year);
        assert!(ended.what.contains("has ended"), "{ended:?}");
        let soon = problem(|seen| seen.now = seen.now + year - CA_SOON);
        assert_eq!(soon.severity, Severity::Warning, "{soon:?}");
        let none = problem(|seen| {
            seen.webhook.as_mut().unwrap().as_mut().unwrap().webhooks = Some(vec![]);
        });
        assert!(none.what.contains("has no webhooks"), "{none:?}");
    }

    #[test]
    fn a_policy_that_was_not_seen_judges_nobody() {
        let unseen = problem(|seen| {
            seen.policy = Err("forbidden".to_owned());
            seen.namespaces = Ok(Namespaces::new([namespace(
                "ci",
                &[("slipway.io/profile", "fast")],
            )]));
        });
        assert_eq!(unseen.severity, Severity::Warning, "{unseen:?}");
    }

    #[test]
    fn a_runner_pod_that_was_missed_is_named() {
        let pod = |annotations: Value| -> DynamicObject {
            serde_json::from_value(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "runner-1", "labels": {"actions-ephemeral-runner": "True"}, "annotations": annotations},
                "spec": {"containers": [{"name": "runner", "image": "x"}, {"name": "dind", "image": "docker:dind"}]}}))
            .unwrap()
        };
        let missed = problem(|seen| {
            let pods = vec![pod(json!({})), pod(json!({STATUS: "{}"}))];
            seen.pods = [("ci".to_owned(), Ok(pods))].into();
        });
        assert!(
            missed
                .what
                .contains("1 runner pod would get a patch and has none, such as runner-1"),
            "{missed:?}"
        );
    }
}
