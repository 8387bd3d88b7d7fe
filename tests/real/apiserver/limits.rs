//! LimitRanges and quotas, which the API server checks after Slipway has changed a pod.

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    fixture::{Installed, container, installed, status},
    harness::{eventually, pods},
};

/// Sends the pod until `is_right` accepts it: Slipway then knows the limits.
async fn admitted(
    here: &Installed,
    namespace: &str,
    pod: &Value,
    is_right: impl Fn(&Value) -> bool,
) -> Value {
    let api = here.cluster.admin().await;
    eventually("the pod to fit the limits", async || {
        let reply = api.post(&pods::dry_run(namespace), pod).await;
        (reply.is_ok() && is_right(&reply.body)).then_some(reply.body)
    })
    .await
}

async fn limit(here: &Installed, namespace: &str, limits: Value) {
    let api = here.cluster.admin().await;
    let range = json!({"metadata": {"name": "limits"}, "spec": {"limits": limits}});
    let path = format!("/api/v1/namespaces/{namespace}/limitranges");
    api.post(&path, &range).await.ok();
}

async fn the_profile_overrides_the_defaults_of_a_limit_range() -> Outcome {
    let here = installed().await?;
    here.enabled("defaulted", &json!({})).await;
    let item = json!({"type": "Container", "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
        "default": {"cpu": "2", "memory": "1Gi"}});
    limit(here, "defaulted", json!([item])).await;
    let pod = pods::example("scale-set-dind");
    let raised = |pod: &Value| container(pod, "dind")["resources"]["requests"]["cpu"] == "100m";
    let pod = admitted(here, "defaulted", &pod, raised).await;
    let dind = &container(&pod, "dind")["resources"];
    assert_eq!(dind["requests"], json!({"cpu": "100m", "memory": "256Mi"}));
    assert_eq!(dind["limits"], json!({"cpu": "2", "memory": "1Gi"}));
    Ok(())
}

async fn added_resources_stay_within_the_maximum() -> Outcome {
    let here = installed().await?;
    here.enabled("maximum", &json!({"slipway.io/profile": "greedy"}))
        .await;
    let item = json!({"type": "Container", "max": {"cpu": "1", "memory": "1Gi"},
        "defaultRequest": {"cpu": "50m", "memory": "64Mi"}});
    limit(here, "maximum", json!([item])).await;
    let mut pod = pods::example("scale-set-dind");
    pod["spec"]["containers"][0]["resources"] = json!({});
    let pod = admitted(here, "maximum", &pod, |_| true).await;
    let dind = &container(&pod, "dind")["resources"];
    assert_eq!(dind["limits"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(dind["requests"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(status(&pod).unwrap()["profile"], "greedy");
    Ok(())
}

async fn a_quota_counts_the_stored_requests() -> Outcome {
    let here = installed().await?;
    here.enabled("quota", &json!({})).await;
    let api = here.cluster.admin().await;
    // There is no controller that fills in the status.
    let hard = json!({"requests.cpu": "1", "requests.memory": "4Gi"});
    let quota = json!({"metadata": {"name": "quota"}, "spec": {"hard": hard}});
    let quotas = "/api/v1/namespaces/quota/resourcequotas";
    let mut quota = api.post(quotas, &quota).await.ok();
    quota["status"] = json!({"hard": hard, "used": {"requests.cpu": "0", "requests.memory": "0"}});
    let path = format!("{quotas}/quota");
    api.put(&format!("{path}/status"), &quota).await.ok();

    // With a quota every container needs requests of its own, which stay.
    let mut pod = pods::example("legacy-sidecar");
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        container["resources"] = json!({"requests": {"cpu": "200m", "memory": "1Gi"}});
    }
    let stored = eventually("the quota to be known", async || {
        let reply = api.post(&pods::path("quota"), &pod).await;
        reply.is_ok().then_some(reply.body)
    })
    .await;
    assert_eq!(status(&stored).unwrap()["strategy"], "dind");
    let used = api.get(&path).await.ok()["status"]["used"].clone();
    assert_eq!(
        used,
        json!({"requests.cpu": "400m", "requests.memory": "2Gi"})
    );
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        the_profile_overrides_the_defaults_of_a_limit_range,
        added_resources_stay_within_the_maximum,
        a_quota_counts_the_stored_requests,
    ]
}
