//! Webhook configurations.

use serde_json::{Value, json};

use super::Api;

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// Registers a webhook for new pods, changed by `change`, in namespaces with the label `label`.
pub async fn register(
    api: &Api,
    name: &str,
    client_config: Value,
    label: (&str, &str),
    change: impl FnOnce(&mut Value),
) {
    let mut webhook = json!({
        "name": format!("{name}.slipway.test"),
        "clientConfig": client_config,
        "rules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
        }],
        "namespaceSelector": {"matchLabels": {label.0: label.1}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 10,
    });
    change(&mut webhook);
    let configuration = json!({"metadata": {"name": name}, "webhooks": [webhook]});
    api.post(CONFIGURATIONS, &configuration).await.ok();
}
