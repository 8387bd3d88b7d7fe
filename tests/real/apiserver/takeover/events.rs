//! The right to write Events, in every namespace.

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{super::place::NAMESPACE, assert_denied, taken_over, unwanted_metadata, with};

fn events_in(namespace: &str) -> String {
    format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events")
}

/// An Event as Slipway writes it.
fn event(namespace: &str, name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "action": "Admitting",
        "reason": "ProfileUnknown",
        "type": "Warning",
        "note": "Slipway left pod runner-* alone",
        "reportingController": "slipway.io/admission",
        "reportingInstance": "slipway-0",
        "regarding": {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "namespace": namespace},
    })
}

async fn events_are_written_in_its_own_name_where_it_is_wanted() -> Outcome {
    let place = taken_over().await?;
    let (admin, account) = (place.cluster.admin().await, place.release.api().await);
    let enabled = json!({"slipway.io/inject": "enabled"});
    place.cluster.namespace("opted-out", json!({})).await;
    let control_plane = json!({"slipway.io/inject": "enabled", "control-plane": "true"});
    place.cluster.namespace("operator", control_plane).await;
    let labels = json!({"metadata": {"labels": enabled}});
    admin
        .merge("/api/v1/namespaces/kube-system", &labels)
        .await
        .ok();
    for namespace in ["opted-out", "operator", "kube-system", "slipway-system"] {
        let reply = account
            .post(&events_in(namespace), &event(namespace, "stray"))
            .await;
        assert_denied(&reply, "slipway-events", namespace);
    }

    let events = events_in(NAMESPACE);
    let own = event(NAMESPACE, "own");
    let mut attacks = vec![];
    for (field, value) in [
        ("reportingController", "kubernetes.io/kubelet"),
        ("type", "Normal"),
    ] {
        let mut attack = own.clone();
        attack[field] = json!(value);
        attacks.push(attack);
    }
    attacks.extend(unwanted_metadata().map(|metadata| with(&own, "metadata", &metadata)));
    for attack in attacks {
        let reply = account.post(&events, &attack).await;
        assert_denied(&reply, "slipway-events", &attack.to_string());
    }

    let mut of_another = event(NAMESPACE, "of-another");
    of_another["reportingController"] = json!("kubernetes.io/kubelet");
    admin.post(&events, &of_another).await.ok();
    account.post(&events, &own).await.ok();
    let path = |name: &str| format!("{events}/{name}");
    let again = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}});
    for metadata in unwanted_metadata() {
        let attack = json!({"metadata": metadata});
        for name in ["of-another", "own"] {
            let reply = account.merge(&path(name), &attack).await;
            assert_denied(&reply, "slipway-events", &attack.to_string());
        }
    }
    let reply = account.merge(&path("of-another"), &again).await;
    assert_denied(&reply, "slipway-events", "a series of another's");
    let said = json!({"note": "all is well"});
    assert!(!account.merge(&path("own"), &said).await.is_ok());
    // The older API would let an Event's text be changed.
    let older = format!("/api/v1/namespaces/{NAMESPACE}/events/of-another");
    let said = json!({"message": "all is well"});
    assert_eq!(account.merge(&older, &said).await.status, 403);
    account.merge(&path("own"), &again).await.ok();
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![events_are_written_in_its_own_name_where_it_is_wanted,]
}
