//! The right to patch the webhook configuration, whose rules say what Slipway is sent.

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    super::{
        certificates::CONFIGURATION,
        harness::{base64, old_authority},
    },
    assert_denied, taken_over, unwanted_metadata,
};

/// The patch that adds a field, or replaces its value.
fn replaced(field: &str, value: impl Into<Value>) -> Value {
    json!([{"op": "add", "path": field, "value": value.into()}])
}

/// Changes of a configuration with two webhooks, each valid by itself.
fn attacks(before: &Value, bundle: &str) -> Vec<Value> {
    let everything = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]);
    let url = json!({"url": "https://evil.example/mutate"});
    let mut third = before["webhooks"][1].clone();
    third["name"] = json!("third.slipway.io");
    let mut attacks = vec![
        replaced("/webhooks/0/rules", everything.clone()),
        replaced("/webhooks/1/rules", everything),
        json!([{"op": "remove", "path": "/webhooks/0/namespaceSelector"}]),
        replaced(
            "/webhooks/0/namespaceSelector/matchExpressions/0/values/-",
            "",
        ),
        json!([{"op": "remove", "path": "/webhooks/0/objectSelector"}]),
        replaced("/webhooks/0/clientConfig", url),
        replaced("/webhooks/0/clientConfig/service/path", "/mutate/all"),
        replaced("/webhooks/0/clientConfig/service/name", "evil"),
        replaced("/webhooks/0/clientConfig/service/namespace", "ci"),
        replaced("/webhooks/0/clientConfig/service/port", 8443),
        replaced("/webhooks/0/failurePolicy", "Fail"),
        replaced("/webhooks/0/matchPolicy", "Exact"),
        replaced("/webhooks/0/reinvocationPolicy", "Never"),
        replaced("/webhooks/0/timeoutSeconds", 30),
        replaced("/webhooks/0/sideEffects", "None"),
        replaced(
            "/webhooks/0/admissionReviewVersions",
            json!(["v1", "v1beta1"]),
        ),
        json!([{"op": "remove", "path": "/webhooks/0/matchConditions"}]),
        replaced("/webhooks/0/matchConditions/0/expression", "true"),
        replaced("/webhooks/0/name", "first.slipway.io"),
        replaced("/webhooks/-", third),
        json!([{"op": "remove", "path": "/webhooks/1"}]),
        json!([{"op": "move", "from": "/webhooks/1", "path": "/webhooks/0"}]),
        replaced("/webhooks", json!([])),
    ];
    let metadata = [json!({"labels": null}), json!({"annotations": null})];
    attacks.extend(
        unwanted_metadata()
            .into_iter()
            .chain(metadata)
            .map(|metadata| json!({"metadata": metadata})),
    );
    let with_ca = json!([
        {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle},
        {"op": "add", "path": "/webhooks/0/rules/0/resources/-", "value": "secrets"},
    ]);
    attacks.push(with_ca);
    attacks
}

async fn a_webhook_configuration_takes_nothing_but_a_ca_bundle() -> Outcome {
    let place = taken_over().await?;
    let (admin, account) = (place.cluster.admin().await, place.release.api().await);
    // A second webhook, so that there is an order.
    let mut second = admin.get(CONFIGURATION).await.ok()["webhooks"][0].clone();
    second["name"] = json!("second.slipway.io");
    let added = replaced("/webhooks/-", second);
    let before = admin.patch(CONFIGURATION, &added).await.ok();
    let (bundle, _) = old_authority();
    for attack in attacks(&before, &base64(&bundle)) {
        let reply = account
            .send("PATCH", CONFIGURATION, Some(&attack))
            .await
            .unwrap();
        assert_denied(&reply, "slipway-webhook", &attack.to_string());
    }
    assert_eq!(admin.get(CONFIGURATION).await.ok(), before);

    // What the leader does.
    for value in [base64(&bundle), base64(&bundle.repeat(2))] {
        let written: Vec<Value> = [0, 1]
            .map(|index| format!("/webhooks/{index}/clientConfig/caBundle"))
            .map(|path| json!({"op": "add", "path": path, "value": value}))
            .into();
        let written = account.patch(CONFIGURATION, &json!(written)).await.ok();
        assert_eq!(written["webhooks"][1]["clientConfig"]["caBundle"], value);
    }
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![a_webhook_configuration_takes_nothing_but_a_ca_bundle,]
}
