use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::{webhook::CA_SOON, *};
use crate::{
    cli::{check::summary::summary, problem::Severity},
    tls::Identity,
};

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
