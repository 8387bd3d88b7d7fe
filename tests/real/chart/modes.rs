//! The effect of each value.

use serde_json::{Value, json};
use slipway_core::policy::Profile;
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
    workspace::read,
};

use super::{
    helm::{self, NAMESPACE, render, render_for},
    objects::{Objects, parse_stream, strings},
};

fn cert_manager() -> Value {
    json!({"certificates": {"mode": "cert-manager"}})
}

fn only_a_provided_ca_is_rendered() -> Outcome {
    helm::needed()?;
    let ca = |values: &Value| {
        render(values).webhook()["clientConfig"]
            .get("caBundle")
            .cloned()
    };
    assert_eq!(ca(&json!({})), None);
    assert_eq!(ca(&cert_manager()), None);
    let provided = json!({"certificates": {"mode": "provided", "provided": {"secretName": "mine", "caBundle": "Y2E="}}});
    assert_eq!(ca(&provided), Some(json!("Y2E=")));
    Ok(())
}

fn slipway_writes_its_own_secret_and_reads_those_of_others_from_a_mount() -> Outcome {
    helm::needed()?;
    let own = render(&json!({}));
    assert_eq!(own.argument("certificates"), Some("self"));
    assert_eq!(own.argument("tls-secret"), Some("slipway-tls"));
    assert_eq!(own.argument("tls-dir"), None);
    let provided = render(
        &json!({"certificates": {"mode": "provided", "provided": {"secretName": "mine", "caBundle": "Y2E="}}}),
    );
    for (objects, secret) in [(provided, "mine"), (render(&cert_manager()), "slipway-tls")] {
        assert_eq!(objects.argument("tls-secret"), None);
        assert_eq!(objects.argument("tls-dir"), Some("/etc/slipway/tls"));
        let pod = objects.pod();
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().any(|m| m["mountPath"] == "/etc/slipway/tls"));
        let volumes = pod["volumes"].as_array().unwrap();
        assert!(volumes.iter().any(|v| v["secret"]["secretName"] == secret));
        assert_eq!(objects.own_rules("Role").count(), 0, "nothing needs them");
        let mut rules = objects.own_rules("ClusterRole");
        assert!(!rules.any(|r| {
            r.get("resourceNames").is_some() && strings(&r["verbs"]).contains(&"patch")
        }));
    }
    Ok(())
}

fn cert_manager_signs_for_the_service_and_injects_its_ca() -> Outcome {
    helm::needed()?;
    let objects = render(&cert_manager());
    let annotations = &objects.one("MutatingWebhookConfiguration")["metadata"]["annotations"];
    let from = annotations["cert-manager.io/inject-ca-from"]
        .as_str()
        .unwrap();
    let (namespace, name) = from.split_once('/').unwrap();
    assert_eq!(namespace, NAMESPACE);
    let mut certificates = objects.all("Certificate");
    let serving = certificates
        .find(|c| c["metadata"]["name"] == name)
        .unwrap();
    let names = strings(&serving["spec"]["dnsNames"]);
    assert!(names.contains(&"slipway.slipway-system.svc"));
    assert_eq!(serving["spec"]["secretName"], "slipway-tls");
    for certificate in objects.all("Certificate") {
        let issuer = &certificate["spec"]["issuerRef"]["name"];
        assert!(
            objects
                .all("Issuer")
                .any(|i| &i["metadata"]["name"] == issuer)
        );
    }
    let ours = json!({"certificates": {"mode": "cert-manager", "certManager": {"issuerRef": {"name": "ours"}}}});
    let objects = render(&ours);
    assert!(!objects.has("Issuer"));
    assert_eq!(
        objects.one("Certificate")["spec"]["issuerRef"]["name"],
        "ours"
    );
    Ok(())
}

fn the_cert_manager_manifests_match_the_chart() -> Outcome {
    helm::needed()?;
    let rendered = render(&cert_manager());
    let wanted: Vec<Value> = rendered
        .iter()
        .filter(|o| o["apiVersion"] == "cert-manager.io/v1")
        .map(|o| {
            let metadata = json!({"name": o["metadata"]["name"], "namespace": NAMESPACE});
            json!({"apiVersion": o["apiVersion"], "kind": o["kind"], "metadata": metadata, "spec": o["spec"]})
        })
        .collect();
    let written = parse_stream(&read("certs/cert-manager.yaml"));
    assert_eq!(written.len(), 4);
    for object in &written {
        assert!(
            wanted.contains(object),
            "{object:#}\nis none of {wanted:#?}"
        );
    }
    Ok(())
}

fn the_status_page_can_be_left_out() -> Outcome {
    helm::needed()?;
    assert_eq!(render(&json!({})).argument("status-page"), Some("true"));
    let without = render(&json!({"statusPage": {"enabled": false}}));
    assert_eq!(without.argument("status-page"), Some("false"));
    Ok(())
}

fn dns_is_allowed_on_the_ports_of_every_distribution() -> Outcome {
    helm::needed()?;
    let objects = render(&json!({}));
    let dns = &objects.one("NetworkPolicy")["spec"]["egress"][0];
    let of = |port: u16| ["UDP", "TCP"].map(|protocol| json!({"port": port, "protocol": protocol}));
    let ports = [of(53), of(5353)].concat();
    assert_eq!(dns, &json!({"ports": ports}));
    Ok(())
}

fn claims_are_touched_only_with_pools() -> Outcome {
    helm::needed()?;
    let rights = |objects: &Objects| {
        let mut rules = objects.own_rules("ClusterRole");
        rules.any(|rule| strings(&rule["resources"]).contains(&"persistentvolumeclaims"))
    };
    let without = render(
        &json!({"policy": {"profiles": {"default": {"dind": {"cache": {"type": "emptyDir"}}}}}}),
    );
    assert!(!rights(&without));
    assert_eq!(without.webhook()["sideEffects"], "None");
    let pool = json!({"type": "pool"});
    for values in [
        json!({"pools": {"enabled": true}}),
        json!({"policy": {"profiles": {"default": {}, "fast": {"dind": {"cache": pool}}}}}),
    ] {
        let with = render(&values);
        assert!(rights(&with));
        assert_eq!(with.webhook()["sideEffects"], "NoneOnDryRun");
    }
    let pools_of_others = render(
        &json!({"certificates": cert_manager()["certificates"], "pools": {"enabled": true}}),
    );
    let mut rules = pools_of_others.own_rules("Role");
    assert!(
        rules.all(|rule| strings(&rule["resources"]) == ["leases"]),
        "a leader, no Secret"
    );
    Ok(())
}

fn match_conditions_are_omitted_if_unsupported_or_disabled() -> Outcome {
    helm::needed()?;
    assert!(render(&json!({})).expression().is_some());
    for version in ["v1.28.0", "v1.28.3-gke.1200"] {
        let objects = render_for(&json!({}), &["--kube-version", version]);
        assert!(objects.expression().is_some(), "{version}");
    }
    let old = render_for(&json!({}), &["--kube-version", "v1.27.9"]);
    assert_eq!(old.expression(), None);
    let off = json!({"webhook": {"matchConditions": {"enabled": false}}});
    assert_eq!(render(&off).expression(), None);
    Ok(())
}

fn a_failing_webhook_must_be_asked_for() -> Outcome {
    helm::needed()?;
    let webhook = |values: &Value| render(values).webhook().clone();
    let usual = webhook(&json!({}));
    assert_eq!(usual["failurePolicy"], "Ignore");
    assert_eq!(usual["timeoutSeconds"], 5);
    assert_eq!(usual["reinvocationPolicy"], "IfNeeded");
    let asked = webhook(&json!({"webhook": {"failurePolicy": "Fail"}}));
    assert_eq!(asked["failurePolicy"], "Fail");
    Ok(())
}

fn the_network_policy_allows_the_mirrors_of_the_policy() -> Outcome {
    helm::needed()?;
    let mirrors = json!([
        "http://mirror.ci:5000",
        "http://plain.ci",
        "https://secure.ci/"
    ]);
    let values = json!({"networkPolicy": {"apiServerPorts": [6443]},
        "policy": {"profiles": {"a": {"dind": {"registryMirrors": mirrors}}, "b": {}}}});
    let objects = render(&values);
    let egress = &objects.one("NetworkPolicy")["spec"]["egress"][1]["ports"];
    let ports = egress
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["port"].as_i64().unwrap());
    assert_eq!(ports.collect::<Vec<_>>(), [6443, 443, 5000, 80]);
    Ok(())
}

fn the_host_network_keeps_cluster_dns_and_frees_ports_before_reusing_them() -> Outcome {
    helm::needed()?;
    let objects = render(&json!({"hostNetwork": true, "ports": {"webhook": 18443}}));
    assert_eq!(objects.pod()["hostNetwork"], true);
    assert_eq!(objects.pod()["dnsPolicy"], "ClusterFirstWithHostNet");
    let update = &objects.one("Deployment")["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(update, &json!({"maxSurge": 0, "maxUnavailable": 1}));
    Ok(())
}

fn the_cache_claim_is_in_the_runners_namespace_and_outlives_the_release() -> Outcome {
    helm::needed()?;
    assert!(!render(&json!({})).has("PersistentVolumeClaim"));
    let values = json!({"cacheClaim": {"enabled": true, "namespace": "ci", "storageClassName": "managed-premium"}});
    let objects = render(&values);
    let claim = objects.one("PersistentVolumeClaim");
    assert_eq!(claim["metadata"]["namespace"], "ci");
    assert_eq!(claim["metadata"]["name"], "docker-cache-pvc");
    assert_eq!(
        claim["metadata"]["annotations"]["helm.sh/resource-policy"],
        "keep"
    );
    assert_eq!(
        claim["spec"],
        json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "managed-premium", "resources": {"requests": {"storage": "50Gi"}}})
    );
    Ok(())
}

fn slots_are_swept_only_on_request_and_in_every_root_of_the_policy() -> Outcome {
    helm::needed()?;
    assert!(!render(&json!({})).has("DaemonSet"));
    let roots = |values: &Value| {
        let mut values = values.clone();
        values["slotsSweeper"]["enabled"] = json!(true);
        let objects = render(&values);
        let pod = &objects.one("DaemonSet")["spec"]["template"]["spec"];
        let volumes = pod["volumes"].as_array().unwrap().iter();
        let paths = volumes.map(|volume| volume["hostPath"]["path"].as_str().unwrap().to_owned());
        paths.collect::<Vec<_>>()
    };
    let built_in = serde_json::to_value(Profile::default()).unwrap();
    let built_in = built_in["dind"]["cache"]["root"].as_str().unwrap();
    let slots = |root: &str| json!({"dind": {"cache": {"type": "nodeSlots", "root": root}}});
    let pool = json!({"dind": {"cache": {"type": "pool"}}});
    for (profiles, wanted) in [
        (json!({}), vec![built_in]),
        (json!({"fast": pool}), vec![built_in]),
        (
            json!({"fast": {"strategy": "dind"}, "a": {"dind": {"mtu": 1400}}}),
            vec![built_in],
        ),
        (json!({"default": slots("/mnt/a")}), vec!["/mnt/a"]),
        (
            json!({"default": pool, "b": slots("/mnt/a"), "c": slots("/mnt/a")}),
            vec!["/mnt/a"],
        ),
        (json!({"a": slots("/mnt/a")}), vec!["/mnt/a", built_in]),
    ] {
        let values = json!({"policy": {"profiles": profiles}});
        assert_eq!(roots(&values), wanted, "{values}");
    }
    let named = json!({"policyConfigMap": "ours", "slotsSweeper": {"roots": ["/mnt/b"]}});
    assert_eq!(roots(&named), ["/mnt/b"]);
    Ok(())
}

/// Asserts that a command of slipway has the flags of these arguments, which begin with the command.
fn has_flags(arguments: &[&str]) {
    let command = arguments
        .iter()
        .take_while(|argument| !argument.starts_with('-'));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args(command)
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}");
    let help = String::from_utf8(output.stdout).unwrap();
    for argument in arguments
        .iter()
        .filter(|argument| argument.starts_with('-'))
    {
        let (flag, _) = argument.split_once('=').unwrap();
        let listed = |line: &str| line.split([' ', ',']).any(|word| word == flag);
        assert!(help.lines().any(listed), "{flag} is not in --help");
    }
}

fn the_commands_accept_every_flag_in_the_chart() -> Outcome {
    helm::needed()?;
    for objects in [render(&json!({})), render(&cert_manager())] {
        assert_eq!(objects.arguments()[0], "serve");
        has_flags(&objects.arguments());
    }
    let objects = render(&json!({"slotsSweeper": {"enabled": true}}));
    let sweeper = &objects.one("DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    let arguments = strings(&sweeper["args"]);
    assert_eq!(arguments[..2], ["slots", "sweep"]);
    has_flags(&arguments);
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        only_a_provided_ca_is_rendered,
        slipway_writes_its_own_secret_and_reads_those_of_others_from_a_mount,
        cert_manager_signs_for_the_service_and_injects_its_ca,
        the_cert_manager_manifests_match_the_chart,
        the_status_page_can_be_left_out,
        dns_is_allowed_on_the_ports_of_every_distribution,
        claims_are_touched_only_with_pools,
        match_conditions_are_omitted_if_unsupported_or_disabled,
        a_failing_webhook_must_be_asked_for,
        the_network_policy_allows_the_mirrors_of_the_policy,
        the_host_network_keeps_cluster_dns_and_frees_ports_before_reusing_them,
        the_cache_claim_is_in_the_runners_namespace_and_outlives_the_release,
        slots_are_swept_only_on_request_and_in_every_root_of_the_policy,
        the_commands_accept_every_flag_in_the_chart,
    ]
}
