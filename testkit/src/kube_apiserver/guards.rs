//! The chart's guards: policies on what the service account writes. The API server enforces a new one about a second
//! after it is stored.

use serde_json::{Value, json};

use super::{
    Api, Cluster, Reply, eventually,
    release::{ACCOUNT, NAME, NAMESPACE},
};

/// Waits until each guard among these objects denies what it must.
pub async fn until_enforced(cluster: &Cluster, objects: &[Value]) {
    let account = cluster.admin_as(ACCOUNT).await;
    let is_guard = |object: &&Value| object["kind"] == "ValidatingAdmissionPolicy";
    for guard in objects.iter().filter(is_guard) {
        let name = guard["metadata"]["name"].as_str().unwrap();
        let rule = &guard["spec"]["matchConstraints"]["resourceRules"][0];
        let resource = rule["resources"][0].as_str().unwrap();
        eventually(&format!("the guard {name}"), async || {
            is_denied_by(&offend(&account, resource).await, name).then_some(())
        })
        .await;
    }
}

/// Returns whether this policy denied a request.
#[must_use]
pub fn is_denied_by(reply: &Reply, policy: &str) -> bool {
    let named = format!("ValidatingAdmissionPolicy '{policy}'");
    reply.status == 403 && reply.message().contains(&named)
}

/// Asks, as a dry run, for what the guard of a resource denies.
async fn offend(account: &Api, resource: &str) -> Reply {
    let of_group = |group: &str| format!("{group}/namespaces/{NAMESPACE}/{resource}?dryRun=All");
    let metadata = json!({"name": "stray"});
    match resource {
        "mutatingwebhookconfigurations" => {
            let path =
                format!("/apis/admissionregistration.k8s.io/v1/{resource}/{NAME}?dryRun=All");
            let labels = json!({"metadata": {"labels": {"stray": "true"}}});
            account.merge(&path, &labels).await
        }
        "secrets" => {
            let secret = json!({"metadata": metadata});
            account.post(&of_group("/api/v1"), &secret).await
        }
        "leases" => {
            let lease = json!({"metadata": metadata, "spec": {}});
            let path = of_group("/apis/coordination.k8s.io/v1");
            account.post(&path, &lease).await
        }
        "events" => {
            let event = json!({
                "metadata": metadata,
                "eventTime": "2026-01-01T00:00:00.000000Z",
                "action": "Straying",
                "reason": "Strayed",
                "type": "Normal",
                "reportingController": "example.com/stray",
                "reportingInstance": "stray",
                "regarding": {"namespace": NAMESPACE},
            });
            account
                .post(&of_group("/apis/events.k8s.io/v1"), &event)
                .await
        }
        "persistentvolumeclaims" => {
            let claim = json!({"metadata": metadata, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            }});
            account.post(&of_group("/api/v1"), &claim).await
        }
        _ => panic!("how does one offend the guard of {resource}?"),
    }
}
