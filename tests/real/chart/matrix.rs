//! Every value switched on and off, alone and in pairs: the invariants hold for all releases.

use std::thread;

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    helm::{self, lint, render, template},
    invariants,
    objects::{Objects, parse_stream},
};

/// Values that change a release: each is tested alone.
pub fn switches() -> Vec<Value> {
    let mut switches = interesting();
    switches.extend([
        json!({}),
        json!({"replicas": 1}),
        json!({"nameOverride": "gate", "commonLabels": {"team": "ci"}, "commonAnnotations": {"note": "x"}}),
        json!({"fullnameOverride": "gate", "podLabels": {"a": "b"}, "podAnnotations": {"c": "d"}}),
        json!({"webhook": {"failurePolicy": "Fail", "reinvocationPolicy": "Never", "timeoutSeconds": 30}}),
        json!({"webhook": {"timeoutSeconds": 2, "annotations": {"admissions.enforcer/disabled": "true"}}}),
        json!({"webhook": {"excludeNamespaces": ["flux-system"]}}),
        json!({"cacheClaim": {"enabled": true, "namespace": "ci"}}),
        json!({"cacheClaim": {"enabled": true, "namespace": "ci", "storageClassName": "managed-premium",
            "name": "layers", "accessMode": "ReadWriteOncePod", "size": "1Ti", "annotations": {"a": "b"}}}),
        json!({"certificates": {"mode": "cert-manager", "certManager": {"issuerRef": {"name": "ours", "kind": "ClusterIssuer"}}}}),
        json!({"certificates": {"mode": "cert-manager", "certManager": {"duration": "720h", "renewBefore": "240h"}}}),
        json!({"image": {"repository": "registry.example:5000/slipway", "digest": format!("sha256:{}", "0".repeat(64))}}),
        json!({"image": {"tag": "1.2.3", "pullPolicy": "Always"}, "imagePullSecrets": [{"name": "pull"}]}),
        json!({"log": {"level": "debug", "format": "text"}}),
        json!({"listenAddress": "::"}),
        json!({"openshift": true}),
        json!({"certificates": {"mode": "cert-manager", "certManager": {"privateKey": {"algorithm": "RSA", "size": 4096}}}}),
        json!({"ports": {"webhook": 10250, "metrics": 9090}, "service": {"port": 8443, "annotations": {"a": "b"}}}),
        json!({"drain": {"delaySeconds": 0, "timeoutSeconds": 300}}),
        json!({"resources": {"limits": null, "requests": {"cpu": "1", "memory": "128Mi"}}}),
        json!({"priorityClass": {"create": false}}),
        json!({"priorityClass": {"create": false, "name": "system-cluster-critical"}}),
        json!({"priorityClass": {"name": "gate", "value": 10_000_000}}),
        json!({"podDisruptionBudget": {"enabled": false}}),
        json!({"podDisruptionBudget": {"maxUnavailable": "50%"}}),
        json!({"antiAffinity": "hard"}),
        json!({"antiAffinity": "none"}),
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["system"]}]}]}}}}),
        json!({"topologySpreadConstraints": [{"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]}),
        json!({"nodeSelector": {"kubernetes.io/os": null, "pool": "system"}, "tolerations": [{"operator": "Exists"}]}),
        json!({"updateStrategy": {"type": "Recreate"}}),
        json!({"serviceAccount": {"create": false}}),
        json!({"serviceAccount": {"create": false, "name": "mine"}}),
        json!({"serviceAccount": {"name": "gate", "annotations": {"a": "b"}}}),
        json!({"policyConfigMap": "ours", "probeMirrors": false}),
        json!({"slotsSweeper": {"enabled": true, "idle": "36h", "every": "1h30m", "roots": ["/mnt/a", "/mnt/b"],
            "resources": {"requests": {"cpu": "1", "memory": "32Mi"}, "limits": null},
            "nodeSelector": {"kubernetes.io/os": null, "pool": "ci"}, "tolerations": []},
            "networkPolicy": {"enabled": false}, "imagePullSecrets": [{"name": "pull"}]}),
        json!({"statusPage": {"enabled": false}}),
        json!({"metrics": {"hosts": ["slipway.example"]}}),
        json!({"pools": {"enabled": true, "guard": false}}),
        json!({"guards": {"webhook": false, "secret": false, "lease": false, "events": false}}),
        json!({"revisionHistoryLimit": 0, "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
            "podSecurityContext": {"runAsUser": null, "runAsGroup": null, "fsGroup": null}}),
        json!({"extraVolumes": [{"name": "ca", "secret": {"secretName": "api-server-ca"}}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/slipway/client-ca", "readOnly": true}],
            "extraArgs": ["--client-ca=/etc/slipway/client-ca/ca.crt"]}),
        json!({"metrics": {"serviceMonitor": {"enabled": true, "interval": "1m", "relabelings": [{"action": "labeldrop", "regex": "x"}],
            "metricRelabelings": [{"action": "labeldrop", "regex": "y"}]}}}),
        json!({"extraArgs": ["--workers=2"], "extraEnv": [{"name": "TZ", "value": "UTC"}]}),
        json!({"networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}],
            "apiServerPorts": [6443], "extraEgress": [{"ports": [{"port": 3128}]}]}}),
        json!({"metrics": {"prometheusRule": {"enabled": true, "labels": {"release": "prometheus"},
            "runbookUrl": "https://runbooks.example/slipway"}}}),
        json!({"metrics": {"dashboard": {"enabled": true, "labels": {"x": "1", "grafana_dashboard": null}, "annotations": {"grafana_folder": "CI"}}}}),
        json!({"global": {"anything": 1}, "enabled": true}),
    ]);
    switches
}

/// Values that affect several objects: each is also tested with every other.
fn interesting() -> Vec<Value> {
    vec![
        json!({"certificates": {"mode": "cert-manager"}}),
        json!({"certificates": {"mode": "provided", "provided": {"secretName": "mine", "caBundle": "Y2E="}}}),
        json!({"pools": {"enabled": true}}),
        json!({"policy": {"profiles": {"default": {"hostAccess": false, "dind": {"registryMirrors": ["http://mirror.ci:5000"]}}}}}),
        json!({"webhook": {"matchConditions": {"enabled": false}}}),
        json!({"slotsSweeper": {"enabled": true}}),
        json!({"hostNetwork": true}),
        json!({"networkPolicy": {"enabled": false}}),
        json!({"metrics": {"serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}}, "prometheusRule": {"enabled": true}, "dashboard": {"enabled": true}}}),
    ]
}

/// Merges `over` into `base`, map by map.
fn merged(base: &Value, over: &Value) -> Value {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            let mut result = base.clone();
            for (key, value) in over {
                let below = result.get(key).cloned().unwrap_or(Value::Null);
                result.insert(key.clone(), merged(&below, value));
            }
            Value::Object(result)
        }
        _ => over.clone(),
    }
}

fn pairs() -> Vec<Value> {
    let all = interesting();
    let pairs = all
        .iter()
        .enumerate()
        .flat_map(|(i, first)| all[i + 1..].iter().map(move |second| merged(first, second)));
    pairs.collect()
}

/// Calls `look` for each of the values, on all CPUs.
fn for_each(values: &[Value], look: impl Fn(&Value) + Sync) {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let share = values.len().div_ceil(threads);
    thread::scope(|scope| {
        for values in values.chunks(share) {
            scope.spawn(|| values.iter().for_each(&look));
        }
    });
}

fn every_release_is_valid_and_renders_the_same_twice() -> Outcome {
    helm::needed()?;
    for_each(&switches(), |values| {
        let text = template(values, &[]).unwrap_or_else(|error| panic!("{values}: {error}"));
        assert_eq!(Ok(&text), template(values, &[]).as_ref(), "{values}");
        invariants::check(values, &Objects::new(parse_stream(&text)));
    });
    Ok(())
}

fn pairs_of_values_work_together() -> Outcome {
    helm::needed()?;
    let pairs = pairs();
    assert!(pairs.len() > 20);
    for_each(&pairs, |values| invariants::check(values, &render(values)));
    Ok(())
}

fn helm_lint_has_no_complaints() -> Outcome {
    helm::needed()?;
    for values in interesting().iter().chain([&json!({})]) {
        lint(values).unwrap_or_else(|error| panic!("{values}: {error}"));
    }
    Ok(())
}

fn unknown_and_invalid_values_are_refused() -> Outcome {
    helm::needed()?;
    for (values, said) in [
        (json!({"replica": 3}), "replica"),
        (json!({"replicas": 0}), "replicas"),
        (
            json!({"webhook": {"failurePolcy": "Ignore"}}),
            "failurePolcy",
        ),
        (json!({"webhook": {"timeoutSeconds": 1}}), "timeoutSeconds"),
        (
            json!({"certificates": {"mode": "selfsigned"}}),
            "certificates",
        ),
        (json!({"metrics": {"dashboard": true}}), "dashboard"),
        (
            json!({"policy": {"profiles": {"default": {"dind": {"mtuu": 1400}}}}}),
            "mtuu",
        ),
        (
            json!({"policy": {"profiles": {"default": {"dind": {"mtu": "1400"}}}}}),
            "mtu",
        ),
        (
            json!({"policy": {"profiles": {"default": {"strategy": "fastest"}}}}),
            "strategy",
        ),
        (json!({"certificates": {"mode": "provided"}}), "caBundle"),
        (
            json!({"cacheClaim": {"enabled": true}}),
            "cacheClaim.namespace",
        ),
        (
            json!({"slotsSweeper": {"enabled": true, "idle": "a week"}}),
            "idle",
        ),
        (json!({"slotsSweeper": {"roots": ["slots"]}}), "roots"),
        (
            json!({"slotsSweeper": {"enabled": true}, "policyConfigMap": "ours"}),
            "slotsSweeper.roots",
        ),
        (
            json!({"slotsSweeper": {"enabled": true},
                "policy": {"profiles": {"default": {"dind": {"cache": {"type": "emptyDir"}}}}}}),
            "no profile of `policy` has node slots",
        ),
        (json!({"ports": {"webhook": 8080}}), "must differ"),
        (
            json!({"hostNetwork": true, "ports": {"webhook": 10250}}),
            "kubelet",
        ),
    ] {
        let error = template(&values, &[]).expect_err(&values.to_string());
        assert!(error.contains(said), "{values}: {error}");
    }
    Ok(())
}

fn the_notes_name_the_label_and_explain_host_access() -> Outcome {
    helm::needed()?;
    let notes = helm::notes(&json!({}));
    for text in [
        "kubectl label namespace RUNNERS slipway.io/inject=enabled",
        "Host access is root on the node",
        "helm test slipway --namespace slipway-system",
    ] {
        assert!(notes.contains(text), "{notes}");
    }
    assert!(!notes.contains("!!"), "{notes}");
    let loud = helm::notes(&json!({"webhook": {"failurePolicy": "Fail"}}));
    assert!(loud.contains("!! webhook.failurePolicy is Fail"), "{loud}");
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        every_release_is_valid_and_renders_the_same_twice,
        pairs_of_values_work_together,
        helm_lint_has_no_complaints,
        unknown_and_invalid_values_are_refused,
        the_notes_name_the_label_and_explain_host_access,
    ]
}
