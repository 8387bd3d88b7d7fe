//! Releases with unusual names, versions and values: they work, or helm says why not before anything changes.

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    helm::{self, CHART, NAMESPACE, RELEASE, altered, render, template, template_as},
    objects::{Objects, check_type, parse_stream},
};

fn cert_manager(more: &Value) -> Value {
    json!({"certificates": {"mode": "cert-manager", "certManager": more}})
}

fn every_log_level_is_one_that_the_program_takes() -> Outcome {
    helm::needed()?;
    for level in ["error", "warn", "info", "debug", "trace"] {
        let objects = render(&json!({"log": {"level": level}}));
        assert_eq!(objects.argument("log-level"), Some(level));
    }
    for level in ["verbose", "INFO", "off", ""] {
        let error = template(&json!({"log": {"level": level}}), &[]).expect_err(level);
        assert!(
            error.contains("level") && error.contains("'trace'"),
            "{error}"
        );
    }
    Ok(())
}

fn hard_anti_affinity_gives_up_a_node_before_it_takes_one() -> Outcome {
    helm::needed()?;
    let update = |values: &Value| {
        render(values).one("Deployment")["spec"]["strategy"]["rollingUpdate"].clone()
    };
    let keeps_all = json!({"maxSurge": 1, "maxUnavailable": 0});
    assert_eq!(update(&json!({"antiAffinity": "soft"})), keeps_all);
    assert_eq!(update(&json!({"antiAffinity": "none"})), keeps_all);
    let hard = json!({"maxSurge": 0, "maxUnavailable": 1});
    assert_eq!(update(&json!({"antiAffinity": "hard"})), hard);
    Ok(())
}

fn a_mirror_with_a_path_is_refused_with_the_reason() -> Outcome {
    helm::needed()?;
    let with = |mirror: &str| {
        let profile = json!({"dind": {"registryMirrors": [mirror]}});
        template(&json!({"policy": {"profiles": {"ci": profile}}}), &[])
    };
    let error = with("https://mirror.ci/hub").unwrap_err();
    let said = "policy.profiles.ci.dind.registryMirrors: `https://mirror.ci/hub` is not a valid registry mirror: \
        it must not have a path";
    assert!(error.contains(said), "{error}");
    for mirror in ["https://mirror.ci", "http://mirror.ci:5000/"] {
        with(mirror).unwrap();
    }
    Ok(())
}

fn an_argument_that_the_chart_sets_is_refused_a_second_time() -> Outcome {
    helm::needed()?;
    for twice in [
        json!(["--log-level=debug"]),
        json!(["--log-level", "debug"]),
    ] {
        let error = template(&json!({"extraArgs": twice}), &[]).unwrap_err();
        let said = "extraArgs: the chart sets --log-level itself";
        assert!(error.contains(said), "{error}");
    }
    let others = json!(["--workers=2", "--metrics-host=a", "--log"]);
    let values = json!({"extraArgs": others, "metrics": {"hosts": ["b"]}});
    template(&values, &[]).unwrap();
    Ok(())
}

fn a_release_whose_name_no_service_can_have_is_refused() -> Outcome {
    helm::needed()?;
    for release in ["ci.slipway", "1slipway"] {
        let error = template_as(CHART, release, NAMESPACE, &json!({})).unwrap_err();
        assert!(error.contains("or set fullnameOverride"), "{error}");
        let named = json!({"fullnameOverride": "gate"});
        template_as(CHART, release, NAMESPACE, &named).unwrap();
    }
    Ok(())
}

fn names_that_look_like_numbers_or_truths_stay_text() -> Outcome {
    helm::needed()?;
    let values = json!({"fullnameOverride": "gate", "nameOverride": "null", "cacheClaim": {"enabled": true, "namespace": "7"},
        "serviceAccount": {"name": "42"}, "slotsSweeper": {"enabled": true}});
    let text = template_as(CHART, "123", "456", &values).unwrap();
    let objects = Objects::new(parse_stream(&text));
    for object in objects.iter() {
        check_type(object);
        let metadata = &object["metadata"];
        assert!(metadata["name"].is_string(), "{object}");
        assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "123");
        assert_eq!(metadata["labels"]["app.kubernetes.io/name"], "null");
    }
    assert_eq!(objects.one("Deployment")["metadata"]["namespace"], "456");
    assert_eq!(objects.pod()["serviceAccountName"], "42");
    Ok(())
}

fn a_version_with_build_metadata_is_a_valid_label_and_tag() -> Outcome {
    helm::needed()?;
    let chart = altered(
        "build-metadata",
        "Chart.yaml",
        "ersion: 0.1.0",
        "ersion: 0.1.0+build.7",
    );
    let text = template_as(&chart, RELEASE, NAMESPACE, &json!({})).unwrap();
    let objects = Objects::new(parse_stream(&text));
    for object in objects.iter() {
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/version"], "0.1.0_build.7");
        assert_eq!(labels["helm.sh/chart"], "slipway-0.1.0_build.7");
    }
    let image = &objects.pod()["containers"][0]["image"];
    assert_eq!(image, "slipway:0.1.0_build.7");
    let error = template(&json!({"image": {"tag": "0.1.0+build.7"}}), &[]).unwrap_err();
    assert!(error.contains("tag"), "{error}");
    Ok(())
}

fn a_serving_certificate_has_a_common_name_where_x509_allows_it() -> Outcome {
    helm::needed()?;
    let spec = |namespace: &str| {
        let ours = cert_manager(&json!({"issuerRef": {"name": "vault"}}));
        let text = template_as(CHART, RELEASE, namespace, &ours).unwrap();
        let objects = Objects::new(parse_stream(&text));
        objects.one("Certificate")["spec"].clone()
    };
    let short = spec(NAMESPACE);
    assert_eq!(short["commonName"], "slipway.slipway-system.svc");
    assert_eq!(short["commonName"], short["dnsNames"][0]);
    let long = spec(&"n".repeat(53));
    assert_eq!(long.get("commonName"), None, "65 characters");
    Ok(())
}

fn the_serving_certificates_key_is_of_the_type_that_the_issuer_wants() -> Outcome {
    helm::needed()?;
    let key = |wanted: Value| {
        let ours = json!({"issuerRef": {"name": "ours"}, "privateKey": wanted});
        render(&cert_manager(&ours)).one("Certificate")["spec"]["privateKey"].clone()
    };
    for (given, algorithm, size) in [
        (json!({}), "ECDSA", json!(256)),
        (json!({"size": 384}), "ECDSA", json!(384)),
        (json!({"algorithm": "RSA"}), "RSA", json!(2048)),
        (
            json!({"algorithm": "RSA", "size": 4096}),
            "RSA",
            json!(4096),
        ),
        (json!({"algorithm": "Ed25519"}), "Ed25519", Value::Null),
    ] {
        let key = key(given);
        assert_eq!(
            (&key["algorithm"], &key["size"]),
            (&json!(algorithm), &size)
        );
    }
    Ok(())
}

fn an_address_is_one_that_the_program_can_bind() -> Outcome {
    helm::needed()?;
    for (address, listens) in [
        ("::", "[::]:8443"),
        ("[::]", "[::]:8443"),
        ("::1", "[::1]:8443"),
        ("127.0.0.1", "127.0.0.1:8443"),
    ] {
        let objects = render(&json!({"listenAddress": address}));
        assert_eq!(objects.argument("listen"), Some(listens));
        let metrics = objects.argument("metrics-listen").unwrap();
        metrics.parse::<std::net::SocketAddr>().unwrap();
    }
    for address in ["localhost", "0.0.0.0:8443", ""] {
        let error = template(&json!({"listenAddress": address}), &[]).expect_err(address);
        assert!(error.contains("listenAddress"), "{error}");
    }
    Ok(())
}

fn openshift_gives_the_user_without_a_null_in_the_values() -> Outcome {
    helm::needed()?;
    let objects = render(&json!({"openshift": true}));
    for pod in [objects.pod(), &objects.one("Pod")["spec"]] {
        assert_eq!(
            pod["securityContext"],
            json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
        );
    }
    let with_group = json!({"openshift": true, "podSecurityContext": {"fsGroup": 7}});
    let objects = render(&with_group);
    assert_eq!(objects.pod()["securityContext"]["fsGroup"], 7);
    Ok(())
}

/// With `--reuse-values`, helm takes the last release's values for the chart's defaults, and hands a null that
/// had removed a default to the schema and the templates.
fn a_null_whose_default_is_gone_is_still_no_value() -> Outcome {
    helm::needed()?;
    let chart = altered(
        "reused-values",
        "values.yaml",
        "    memory: 64Mi\n  limits:\n    memory: 256Mi\n",
        "    memory: 64Mi\n",
    );
    let values = json!({"resources": {"limits": null}, "nodeSelector": {"pool": null},
        "slotsSweeper": {"enabled": true, "nodeSelector": {"pool": null}},
        "metrics": {"dashboard": {"enabled": true, "labels": {"folder": null}}}});
    let text = template_as(&chart, RELEASE, NAMESPACE, &values).unwrap();
    let objects = Objects::new(parse_stream(&text));
    let of_os = json!({"kubernetes.io/os": "linux"});
    let sweeper = &objects.one("DaemonSet")["spec"]["template"]["spec"];
    for pod in [objects.pod(), &objects.one("Pod")["spec"]] {
        let resources = &pod["containers"][0]["resources"];
        let requests = json!({"requests": {"cpu": "50m", "memory": "64Mi"}});
        assert_eq!(resources, &requests);
        assert_eq!(pod["nodeSelector"], of_os);
    }
    assert_eq!(sweeper["nodeSelector"], of_os);
    for map in objects.all("ConfigMap") {
        assert_eq!(map["metadata"]["labels"].get("folder"), None);
    }
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        every_log_level_is_one_that_the_program_takes,
        hard_anti_affinity_gives_up_a_node_before_it_takes_one,
        a_mirror_with_a_path_is_refused_with_the_reason,
        an_argument_that_the_chart_sets_is_refused_a_second_time,
        a_release_whose_name_no_service_can_have_is_refused,
        names_that_look_like_numbers_or_truths_stay_text,
        a_version_with_build_metadata_is_a_valid_label_and_tag,
        a_serving_certificate_has_a_common_name_where_x509_allows_it,
        the_serving_certificates_key_is_of_the_type_that_the_issuer_wants,
        an_address_is_one_that_the_program_can_bind,
        openshift_gives_the_user_without_a_null_in_the_values,
        a_null_whose_default_is_gone_is_still_no_value,
    ]
}
