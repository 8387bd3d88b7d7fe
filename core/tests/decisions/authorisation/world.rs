//! Everything that a decision depends on: the attacker's pod and labels, the administrator's policy.

use std::collections::BTreeMap;

use proptest::{
    option,
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Value, json};
use slipway_core::{
    cache::claims::{Claim, Claims, claim::Annotations},
    decide::Cluster,
    k8s::namespace::{Namespace, Namespaces},
    nodes::Snapshot,
    policy::Policy,
};

use super::pods::pod;

pub const ROOT: &str = "/var/lib/slipway";
pub const LOCAL_CACHE: &str = "/tmp/buildkit-cache";
pub const CUSTOM_SOCKET: &str = "/custom/runtime.sock";
/// All namespaces with claims, the attacker's and another team's.
pub const NAMESPACES: [&str; 3] = ["ci", "ci-a", "theirs"];

#[derive(Debug, Clone)]
pub struct World {
    pub pod: Value,
    pub policy: Value,
    pub namespace: &'static str,
    /// `None`: the namespace is not known yet.
    pub labels: Option<BTreeMap<String, String>>,
    /// `None`: the nodes are not known yet.
    pub nodes: Option<Vec<Value>>,
}

impl World {
    pub fn with<T>(&self, look: impl FnOnce(Cluster<'_>) -> T) -> T {
        let policy = Policy::parse(&self.policy.to_string()).unwrap();
        let nodes = self.nodes.as_ref().map(|nodes| {
            let node = |node: &Value| serde_json::from_value(node.clone()).unwrap();
            Snapshot::new(nodes.iter().map(node))
        });
        let namespaces = Namespaces::new(self.labels.iter().map(|labels| Namespace {
            name: self.namespace.to_owned(),
            labels: labels.clone(),
            ..Namespace::default()
        }));
        let claims = claims();
        look(Cluster {
            nodes: nodes.as_ref(),
            namespaces: &namespaces,
            policy: &policy,
            dead_mirrors: &[],
            claims: Some(&claims),
        })
    }
}

/// Claims of every pool and namespace: blank, used by several keys, leased.
fn claims() -> Claims {
    let profiles = ["default", "open", "trusted"];
    let annotations = [
        json!({}),
        json!({"slipway.io/cache-key": "arc-theirs", "slipway.io/leases": "1"}),
        json!({"slipway.io/cache-key": "all.pods", "slipway.io/leases": "1"}),
        json!({"slipway.io/lease": "0b7c5ab4-6c1f-4a3c-9d1e-5f2f4f7f0001"}),
    ];
    let mut all = Vec::new();
    for namespace in NAMESPACES {
        for profile in profiles {
            for (i, annotations) in annotations.iter().enumerate() {
                let name = format!("slipway-{profile}-{i}");
                let annotations: BTreeMap<String, String> =
                    serde_json::from_value(annotations.clone()).unwrap();
                all.push(Claim {
                    namespace: namespace.to_owned(),
                    uid: name.clone(),
                    name,
                    version: "1".to_owned(),
                    profile: profile.to_owned(),
                    terminating: false,
                    volume: None,
                    size: None,
                    created: None,
                    annotations: Annotations::read(&annotations),
                });
            }
        }
    }
    Claims::new(all)
}

fn profile() -> impl Strategy<Value = Value> {
    let strategy = select(vec!["auto", "containerd", "docker-socket", "dind", "none"]);
    let cache = select(vec![
        json!({"type": "nodeSlots"}),
        json!({"type": "nodeSlots", "key": "annotation"}),
        json!({"type": "nodeSlots", "key": "label", "keyLabel": "example.com/repo"}),
        json!({"type": "nodeSlots", "key": "namespace"}),
        json!({"type": "pool"}),
        json!({"type": "pool", "key": "annotation"}),
        json!({"type": "pool", "strictKeys": false, "fallback": "ephemeral"}),
        json!({"type": "pvc", "claimName": "shared"}),
        json!({"type": "emptyDir"}),
        json!({"type": "none"}),
    ]);
    let local = select(vec![
        json!({"type": "none"}),
        json!({"type": "hostPath", "path": LOCAL_CACHE}),
    ]);
    let socket = select(vec!["auto", CUSTOM_SOCKET]);
    let overwrite = select(vec!["never", "all"]);
    let mixed = select(vec!["dind", "pin"]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (strategy, cache, local, socket, overwrite, mixed, flags).prop_map(
        |(strategy, cache, local, socket, overwrite, mixed, (host, inject, replace, buildkitd))| {
            json!({"strategy": strategy, "hostAccess": host, "replaceDockerd": replace,
                "overwrite": overwrite, "whenMixed": mixed,
                "containerd": {"socketPath": socket, "supplementalGroups": [7],
                    "buildkitd": if buildkitd { json!({}) } else { json!(null) }},
                "dockerSocket": {"socketPath": socket},
                "dind": {"cache": cache, "inject": if inject { "ifMissing" } else { "never" },
                    "daemonConfig": {"debug": true}},
                "buildkit": {"localCache": local}})
        },
    )
}

fn policy() -> impl Strategy<Value = Value> {
    let rules = select(vec![
        json!([]),
        json!([{"names": ["theirs"], "profile": "trusted"}]),
        json!([{"names": ["ci-*"], "profile": "open"}]),
    ]);
    let level = select(vec!["privileged", "baseline"]);
    (profile(), profile(), profile(), rules, level).prop_map(
        |(default, mut open, mut trusted, rules, level)| {
            open["selectable"] = json!(true);
            trusted["selectable"] = json!(false);
            json!({"profiles": {"default": default, "open": open, "trusted": trusted},
                "namespaces": rules, "podSecurityDefault": level})
        },
    )
}

fn namespace_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let inject = select(vec![Some("enabled"), Some("enabled"), Some("true"), None]);
    let profile = select(vec![
        None,
        Some("open"),
        Some("trusted"),
        Some("../trusted"),
    ]);
    let level = select(vec![
        None,
        Some("privileged"),
        Some("baseline"),
        Some("Privileged"),
    ]);
    let control = option::weighted(0.1, Just("x"));
    (inject, profile, level, control).prop_map(|(inject, profile, level, control)| {
        [
            ("slipway.io/inject", inject),
            ("slipway.io/profile", profile),
            ("pod-security.kubernetes.io/enforce", level),
            ("control-plane", control),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
        .collect()
    })
}

fn nodes() -> impl Strategy<Value = Vec<Value>> {
    let node = |name: &str, runtime: &str, labels: Value| {
        json!({"metadata": {"name": name, "labels": labels},
            "status": {"nodeInfo": {"containerRuntimeVersion": runtime, "kubeletVersion": "v1.33.0"}}})
    };
    let fargate = json!({"pool": "d", "eks.amazonaws.com/compute-type": "fargate"});
    let all = vec![
        node("a", "containerd://2.1", json!({"pool": "a"})),
        node("b", "docker://20.10", json!({"pool": "b"})),
        node("c", "cri-o://1.33", json!({"pool": "c"})),
        node("d", "containerd://2.1", fargate),
    ];
    subsequence(all, 0..=4)
}

pub fn world() -> impl Strategy<Value = World> {
    let namespace = select(vec![
        "ci",
        "ci",
        "ci-a",
        "theirs",
        "kube-system",
        "../theirs",
    ]);
    let labels = option::weighted(0.9, namespace_labels());
    let nodes = option::weighted(0.9, nodes());
    (pod(), policy(), namespace, labels, nodes).prop_map(
        |(pod, policy, namespace, labels, nodes)| World {
            pod,
            policy,
            namespace,
            labels,
            nodes,
        },
    )
}
