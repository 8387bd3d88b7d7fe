//! The release's service account: its rights are sufficient, and no larger than necessary.

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    fixture::installed,
    harness::{ACCOUNT, eventually, pods},
};

/// (verb, group, resource, namespace, name)
type Right = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const WEBHOOKS: &str = "admissionregistration.k8s.io";

const NEEDED: [Right; 9] = [
    ("list", "", "nodes", "", ""),
    ("watch", "", "namespaces", "", ""),
    ("watch", "", "limitranges", "", ""),
    ("create", "events.k8s.io", "events", "any", ""),
    (
        "get",
        WEBHOOKS,
        "mutatingwebhookconfigurations",
        "",
        "slipway",
    ),
    (
        "patch",
        WEBHOOKS,
        "mutatingwebhookconfigurations",
        "",
        "slipway",
    ),
    ("update", "", "secrets", "slipway-system", "slipway-tls"),
    (
        "create",
        "coordination.k8s.io",
        "leases",
        "slipway-system",
        "",
    ),
    (
        "update",
        "coordination.k8s.io",
        "leases",
        "slipway-system",
        "slipway",
    ),
];

const REFUSED: [Right; 24] = [
    ("get", "", "secrets", "any", ""),
    ("list", "", "secrets", "", ""),
    ("list", "", "secrets", "slipway-system", ""),
    ("get", "", "secrets", "slipway-system", "other"),
    ("get", "", "secrets", "any", "slipway-tls"),
    ("create", "", "secrets", "any", ""),
    ("get", "", "pods", "any", ""),
    ("create", "", "pods", "slipway-system", ""),
    ("patch", "", "nodes", "", "any"),
    ("patch", "", "namespaces", "", "any"),
    ("get", "", "configmaps", "any", ""),
    (
        "patch",
        WEBHOOKS,
        "mutatingwebhookconfigurations",
        "",
        "other",
    ),
    ("create", WEBHOOKS, "mutatingwebhookconfigurations", "", ""),
    (
        "update",
        WEBHOOKS,
        "mutatingwebhookconfigurations",
        "",
        "slipway",
    ),
    (
        "delete",
        WEBHOOKS,
        "mutatingwebhookconfigurations",
        "",
        "slipway",
    ),
    (
        "update",
        WEBHOOKS,
        "validatingadmissionpolicies",
        "",
        "slipway-webhook",
    ),
    (
        "delete",
        WEBHOOKS,
        "validatingadmissionpolicybindings",
        "",
        "slipway-webhook",
    ),
    ("delete", "", "secrets", "slipway-system", "slipway-tls"),
    ("patch", "", "secrets", "slipway-system", "slipway-tls"),
    ("create", "", "events", "any", ""),
    (
        "delete",
        "coordination.k8s.io",
        "leases",
        "slipway-system",
        "slipway",
    ),
    (
        "patch",
        WEBHOOKS,
        "validatingwebhookconfigurations",
        "",
        "slipway",
    ),
    (
        "create",
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "",
        "",
    ),
    (
        "update",
        "coordination.k8s.io",
        "leases",
        "kube-system",
        "any",
    ),
];

async fn the_service_account_may_do_what_it_needs_and_nothing_else() -> Outcome {
    let here = installed().await?;
    let api = here.release.api().await;
    let mut wrong = Vec::new();
    let needed = NEEDED.iter().map(|right| (right, true));
    let refused = REFUSED.iter().map(|right| (right, false));
    for (right, expected) in needed.chain(refused) {
        let (verb, group, resource, namespace, name) = right;
        let attributes = json!({"verb": verb, "group": group, "resource": resource,
            "namespace": namespace, "name": name});
        let review = json!({"spec": {"resourceAttributes": attributes}});
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = api.post(path, &review).await.ok();
        if answer["status"]["allowed"] != expected {
            wrong.push(format!("{right:?}: {}", answer["status"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn none_of_slipways_requests_is_forbidden() -> Outcome {
    let here = installed().await?;
    let asked: Vec<Value> = here.cluster.audit_events(ACCOUNT);
    let code = |event: &Value| event["responseStatus"]["code"].as_u64();
    let forbidden: Vec<&Value> = asked.iter().filter(|e| code(e) == Some(403)).collect();
    assert!(forbidden.is_empty(), "{forbidden:#?}");
    assert!(asked.len() > 5, "only {} requests", asked.len());
    Ok(())
}

async fn an_event_tells_the_owner_of_a_fixable_mistake() -> Outcome {
    let here = installed().await?;
    here.enabled("told", &json!({"slipway.io/profile": "missing"}))
        .await;
    let api = here.cluster.admin().await;
    let pod = pods::example("scale-set-dind");
    api.post(&pods::path("told"), &pod).await.ok();
    let event = eventually("the Event", async || {
        let events = api.get("/api/v1/namespaces/told/events").await.ok();
        let mut events = events["items"].as_array().unwrap().iter();
        events
            .find(|event| event["reason"] == "ProfileUnknown")
            .cloned()
    })
    .await;
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["involvedObject"]["kind"], "EphemeralRunner");
    let owner = &pod["metadata"]["ownerReferences"][0];
    assert_eq!(event["involvedObject"]["name"], owner["name"]);
    let message = event["message"].as_str().unwrap();
    assert!(message.contains("missing"), "{message}");
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        the_service_account_may_do_what_it_needs_and_nothing_else,
        none_of_slipways_requests_is_forbidden,
        an_event_tells_the_owner_of_a_fixable_mistake,
    ]
}
