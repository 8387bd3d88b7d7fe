use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::{webhook::CA_SOON, *};
use crate::{
    cli::{
        check::{summary::summary, survey::KubernetesVersion},
        problem::Severity,
        queries::SourcedPolicy,
    },
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

/// A cluster without problems.
fn healthy() -> Survey {
    let node = json!({"metadata": {"name": "n1"}, "status": {"nodeInfo": {"containerRuntimeVersion": "containerd://2.1"}}});
    let webhook = json!({"metadata": {"name": "slipway"}, "webhooks": [{
        "name": "inject.slipway.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"caBundle": ca_bundle()}, "failurePolicy": "Ignore", "timeoutSeconds": 5
    }]});
    Survey {
        now: SystemTime::now(),
        version: KubernetesVersion {
            text: "v1.36.2".to_owned(),
            minor: 36,
        },
        nodes: Ok(vec![serde_json::from_value(node).unwrap()]),
        namespaces: Ok(Namespaces::new([namespace("ci", &[])])),
        policy: SourcedPolicy {
            source: "built-in".to_owned(),
            result: Ok(Ok(Policy::default())),
        },
        webhook_name: "slipway".to_owned(),
        webhook: Ok(Some(serde_json::from_value(webhook).unwrap())),
        ready: Ok(2),
        claims: BTreeMap::new(),
        pods: BTreeMap::new(),
    }
}

/// Returns the only problem that a change of the healthy cluster causes.
fn problem(change: impl FnOnce(&mut Survey)) -> Problem {
    let mut survey = healthy();
    change(&mut survey);
    let problems = problems(&survey);
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
            "sockets": "runner pods without a dockerd would get one in ci (containerd)",
            "webhook": "slipway; replicas: 2 ready",
        })
    );
}

#[test]
fn each_fault_is_reported_once() {
    let policy = |text: &str| Ok(Policy::parse(text));
    let broken: [(&str, Problem); 8] = [
        ("not installed", problem(|survey| survey.webhook = Ok(None))),
        ("no replica", problem(|survey| survey.ready = Ok(0))),
        (
            "cannot be used",
            problem(|survey| survey.policy.result = policy("profiles: {a: {mtuu: 1}}")),
        ),
        (
            "cannot be listed",
            problem(|survey| survey.nodes = Err("forbidden".to_owned())),
        ),
        (
            "does not have",
            problem(|survey| {
                survey.namespaces = Ok(Namespaces::new([namespace(
                    "ci",
                    &[("slipway.io/profile", "fsat")],
                )]));
            }),
        ),
        (
            "does not let namespaces select",
            problem(|survey| {
                survey.policy.result = policy("profiles: {root: {selectable: false}}");
                survey.namespaces = Ok(Namespaces::new([namespace(
                    "ci",
                    &[("slipway.io/profile", "root")],
                )]));
            }),
        ),
        (
            "which is not there",
            problem(|survey| {
                survey.policy.result = policy(
                    "profiles: {default: {dind: {cache: {type: pvc, claimName: c, accessMode: ReadWriteOncePod}}}}",
                );
                survey.claims = [("ci".to_owned(), Ok(vec![]))].into();
            }),
        ),
        (
            "no caBundle",
            problem(|survey| {
                let webhook = survey.webhook.as_mut().unwrap().as_mut().unwrap();
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
fn shortcomings_are_warnings() {
    let odd = [
        (
            "belongs to the cluster",
            problem(|survey| {
                survey.namespaces = Ok(Namespaces::new([namespace("kube-public", &[])]));
            }),
        ),
        (
            "none has opted in",
            problem(|survey| survey.namespaces = Ok(Namespaces::default())),
        ),
        ("match conditions", {
            let mut survey = healthy();
            survey.version.minor = 27;
            problems(&survey).remove(0)
        }),
        (
            "failurePolicy Fail",
            problem(|survey| {
                let webhook = survey.webhook.as_mut().unwrap().as_mut().unwrap();
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
fn the_ca_bundle_is_checked() {
    let set = |survey: &mut Survey, bundle: &[u8]| {
        let webhook = survey.webhook.as_mut().unwrap().as_mut().unwrap();
        let bundle = Some(ByteString(bundle.to_vec()));
        webhook.webhooks.as_mut().unwrap()[0]
            .client_config
            .ca_bundle = bundle;
    };
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let garbage = problem(|survey| set(survey, b"CA"));
    assert!(
        garbage.what.contains("holds no certificates"),
        "{garbage:?}"
    );
    let expired = problem(|survey| survey.now += year);
    assert!(expired.what.contains("has expired"), "{expired:?}");
    let soon = problem(|survey| survey.now = survey.now + year - CA_SOON);
    assert_eq!(soon.severity, Severity::Warning, "{soon:?}");
    let none = problem(|survey| {
        survey.webhook.as_mut().unwrap().as_mut().unwrap().webhooks = Some(vec![]);
    });
    assert!(none.what.contains("has no webhooks"), "{none:?}");
}

#[test]
fn an_unreadable_policy_causes_no_errors() {
    let unread = problem(|survey| {
        survey.policy.result = Err("forbidden".to_owned());
        survey.namespaces = Ok(Namespaces::new([namespace(
            "ci",
            &[("slipway.io/profile", "fast")],
        )]));
    });
    assert_eq!(unread.severity, Severity::Warning, "{unread:?}");
}

#[test]
fn a_runner_pod_that_was_missed_is_named() {
    let pod = |annotations: Value| -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "runner-1", "labels": {"actions-ephemeral-runner": "True"}, "annotations": annotations},
            "spec": {"containers": [{"name": "runner", "image": "x"}, {"name": "dind", "image": "docker:dind"}]}}))
        .unwrap()
    };
    let missed = problem(|survey| {
        let pods = vec![pod(json!({})), pod(json!({STATUS: "{}"}))];
        survey.pods = [("ci".to_owned(), Ok(pods))].into();
    });
    assert!(
        missed
            .what
            .contains("1 runner pod would get a patch and has none, such as runner-1"),
        "{missed:?}"
    );
}
