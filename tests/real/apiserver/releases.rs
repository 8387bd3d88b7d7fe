//! The release as helm and GitOps tools install, upgrade and remove it: Slipway's own writes stay.

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    certificates::CONFIGURATION,
    harness::apply,
    place::{Place, count},
};

/// Returns changed values, as for an upgrade.
fn changed() -> Value {
    let mut values = Place::values();
    values["webhook"]["annotations"] = json!({"team": "ci"});
    values["webhook"]["excludeNamespaces"] = json!(["flux-system"]);
    values["policy"]["profiles"]["later"] = json!({"dind": {"registryMirrors": []}});
    values
}

async fn upgrades_and_syncs_keep_the_ca_and_lose_no_request() -> Outcome {
    let place = Place::by_helm("helm").await?;
    let (a, b) = (place.release.start("a"), place.release.start("b"));
    a.until_ready().await;
    b.until_ready().await;
    place.release.route_to([&a, &b]);
    place.until_patched().await;
    let trusted = place.ca_bundle().await;
    let before = place.failed_open().await;
    let load = place.load();
    load.go_on().await;

    let upgrade = ["upgrade", "slipway", "charts/slipway", "--values=-"];
    let helm = |values| place.release.helm(&place.cluster, &upgrade, values);
    assert_eq!(helm(changed()), None);
    let configuration = place.api.get(CONFIGURATION).await.ok();
    assert_eq!(configuration["metadata"]["annotations"]["team"], "ci");
    assert_eq!(place.ca_bundle().await, trusted);
    load.go_on().await;

    // A GitOps tool takes over, and owns all fields that it renders.
    let mut objects = place.release.rendered(Place::values());
    objects.retain(|object| object["kind"] == "MutatingWebhookConfiguration");
    apply(&place.cluster, &objects);
    assert_eq!(place.ca_bundle().await, trusted);
    load.go_on().await;

    let (_, plain) = count(load.end().await);
    assert_eq!(plain, 0);
    assert_eq!(place.failed_open().await, before);
    place.assert_nothing_waited().await;
    Ok(())
}

async fn an_uninstall_leaves_only_what_the_documents_say() -> Outcome {
    let place = Place::by_helm("removed").await?;
    let replica = place.release.start_one().await;
    place.until_patched().await;
    let load = place.load();
    load.go_on().await;
    let uninstall = ["uninstall", "slipway"];
    assert_eq!(
        place.release.helm(&place.cluster, &uninstall, json!({})),
        None
    );
    load.go_on().await;
    drop(replica);
    load.go_on().await;
    // Pods are created all the time, after the uninstall without Slipway.
    let (patched, plain) = count(load.end().await);
    assert!(patched > 0 && plain > 0, "{patched} {plain}");
    place.assert_nothing_waited().await;

    let kinds = "all,configmaps,secrets,serviceaccounts,leases,roles,rolebindings,clusterroles,\
                 clusterrolebindings,mutatingwebhookconfigurations,validatingadmissionpolicies,\
                 validatingadmissionpolicybindings,priorityclasses,networkpolicies,\
                 poddisruptionbudgets";
    let kubectl = |arguments: &[&str]| {
        let output = place.cluster.kubectl().args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    let left = kubectl(&["get", kinds, "--all-namespaces", "--output=name"]);
    let mut left: Vec<&str> = left
        .lines()
        .filter(|name| name.contains("slipway"))
        .collect();
    left.sort_unstable();
    assert_eq!(
        left,
        ["lease.coordination.k8s.io/slipway", "secret/slipway-tls"]
    );
    let namespace = ["--namespace", "slipway-system"];
    for command in [
        ["delete", "secret", "slipway-tls"],
        ["delete", "lease", "slipway"],
    ] {
        kubectl(&[&namespace[..], &command].concat());
    }
    Ok(())
}

async fn reused_values_keep_what_openshift_needs_and_removed_limits() -> Outcome {
    let place = Place::by_helm("reused").await?;
    let pod = async || {
        let path = "/apis/apps/v1/namespaces/slipway-system/deployments/slipway";
        place.api.get(path).await.ok()["spec"]["template"]["spec"].clone()
    };
    let mut values = Place::values();
    values["openshift"] = json!(true);
    values["resources"] = json!({"limits": null});
    let upgrade = ["upgrade", "slipway", "charts/slipway", "--values=-"];
    let helm = |arguments: &[&str], values| place.release.helm(&place.cluster, arguments, values);
    assert_eq!(helm(&upgrade, values), None);
    let upgraded = pod().await;
    for again in [
        "--reuse-values",
        "--reuse-values",
        "--reset-then-reuse-values",
    ] {
        let arguments = [&upgrade[..], &[again]].concat();
        assert_eq!(helm(&arguments, json!({})), None, "{again}");
        let pod = pod().await;
        assert_eq!(pod["securityContext"].get("runAsUser"), None, "{again}");
        let resources = &pod["containers"][0]["resources"];
        assert_eq!(resources.get("limits"), None, "{again}");
        assert_eq!(pod, upgraded, "{again}");
    }
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        upgrades_and_syncs_keep_the_ca_and_lose_no_request,
        reused_values_keep_what_openshift_needs_and_removed_limits,
        an_uninstall_leaves_only_what_the_documents_say,
    ]
}
