//! A namespace that admits a pod also admits it with Slipway's changes: every pod of the examples, every
//! profile, and restrictive namespaces.

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    fixture::{Installed, PROFILES, hardened_spec, installed},
    harness::{eventually, pods},
};

const PODS: [&str; 9] = [
    "buildkite",
    "gitlab-build",
    "jenkins",
    "legacy-dockerd-in-runner",
    "legacy-sidecar",
    "no-docker",
    "scale-set-dind",
    "scale-set-dind-pre-1.29",
    "scale-set-kubernetes-mode",
];

fn all_pods() -> Vec<(String, Value)> {
    let examples = PODS
        .iter()
        .map(|name| ((*name).to_owned(), pods::example(name)));
    let mut hardened = pods::example("no-docker");
    hardened["spec"] = hardened_spec();
    let mut all: Vec<(String, Value)> = examples.collect();
    // Without its own resources, all of them come from LimitRanges.
    let bare = |(name, pod): &(String, Value)| {
        let name = format!("{name} without resources");
        (name, without_resources(pod.clone()))
    };
    let bare: Vec<_> = all.iter().map(bare).collect();
    all.extend(bare);
    all.push(("hardened".to_owned(), hardened));
    all
}

fn without_resources(mut pod: Value) -> Value {
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            container["resources"] = json!({});
        }
    }
    pod
}

/// Tries every pod with and without Slipway. Returns how many the namespace admits.
async fn try_all(here: &Installed, namespace: &str, wrong: &mut Vec<String>) -> usize {
    let api = here.cluster.admin().await;
    let path = pods::dry_run(namespace);
    let mut admitted = 0;
    for (name, pod) in all_pods() {
        let mut alone = pod.clone();
        pods::label(&mut alone, "slipway.io/inject", "false");
        if !api.post(&path, &alone).await.is_ok() {
            continue;
        }
        admitted += 1;
        let reply = api.post(&path, &pod).await;
        if !reply.is_ok() {
            wrong.push(format!("{namespace}: {name}: {}", reply.message()));
        } else if !here.was_asked(&reply).await {
            wrong.push(format!("{namespace}: {name}: Slipway was not asked"));
        }
    }
    admitted
}

async fn pod_security_admits_every_pod_with_slipway_that_it_admits_without() -> Outcome {
    let here = installed().await?;
    let mut wrong = Vec::new();
    for (level, at_least) in [("privileged", 19), ("baseline", 5), ("restricted", 1)] {
        for profile in PROFILES {
            let namespace = format!("{level}-{profile}");
            let labels = json!({
                "pod-security.kubernetes.io/enforce": level,
                "slipway.io/profile": profile,
            });
            here.enabled(&namespace, &labels).await;
            let admitted = try_all(here, &namespace, &mut wrong).await;
            assert!(admitted >= at_least, "{namespace}: {admitted}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Returns LimitRanges by name, each with the least number of pods that fit it.
fn limits() -> [(&'static str, Value, usize); 5] {
    [
        (
            "defaults",
            json!([{"type": "Container", "default": {"cpu": "200m", "memory": "128Mi"},
                "defaultRequest": {"cpu": "50m", "memory": "64Mi"}}]),
            10,
        ),
        (
            "small-max",
            json!([{"type": "Container", "max": {"cpu": "1", "memory": "4Gi"},
                "default": {"cpu": "100m", "memory": "128Mi"},
                "defaultRequest": {"cpu": "50m", "memory": "64Mi"}}]),
            10,
        ),
        (
            "tight-ratio",
            json!([{"type": "Container", "maxLimitRequestRatio": {"cpu": "2", "memory": "2"},
                "default": {"cpu": "200m", "memory": "128Mi"},
                "defaultRequest": {"cpu": "100m", "memory": "64Mi"}}]),
            10,
        ),
        (
            "large-min",
            json!([{"type": "Container", "min": {"cpu": "300m", "memory": "512Mi"},
                "default": {"cpu": "500m", "memory": "1Gi"},
                "defaultRequest": {"cpu": "400m", "memory": "768Mi"}}]),
            10,
        ),
        (
            "whole-pod",
            json!([{"type": "Pod", "max": {"cpu": "700m", "memory": "640Mi"}},
                {"type": "Container", "default": {"cpu": "100m", "memory": "128Mi"},
                "defaultRequest": {"cpu": "50m", "memory": "64Mi"}}]),
            10,
        ),
    ]
}

async fn limit_ranges_admit_every_pod_with_slipway_that_they_admit_without() -> Outcome {
    let here = installed().await?;
    let api = here.cluster.admin().await;
    let mut wrong = Vec::new();
    for (name, limits, at_least) in limits() {
        for profile in PROFILES {
            let namespace = format!("{name}-{profile}");
            here.enabled(&namespace, &json!({"slipway.io/profile": profile}))
                .await;
            let range = json!({"metadata": {"name": "limits"}, "spec": {"limits": limits}});
            let ranges = format!("/api/v1/namespaces/{namespace}/limitranges");
            api.post(&ranges, &range).await.ok();
            // This pod is admitted once Slipway knows the limits.
            let pod = without_resources(pods::example("scale-set-dind"));
            eventually(
                &format!("a pod within the limits of {namespace}"),
                async || {
                    let reply = api.post(&pods::dry_run(&namespace), &pod).await;
                    reply.is_ok().then_some(())
                },
            )
            .await;
            let admitted = try_all(here, &namespace, &mut wrong).await;
            assert!(admitted >= at_least, "{namespace}: {admitted}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        pod_security_admits_every_pod_with_slipway_that_it_admits_without,
        limit_ranges_admit_every_pod_with_slipway_that_they_admit_without,
    ]
}
