//! The rights in the own namespace: to the Secret and the Lease.

use serde_json::json;
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    super::{
        certificates::{LEASE, SECRET, SECRETS},
        harness::base64,
    },
    assert_denied, taken_over, unwanted_metadata, with,
};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/slipway-system/leases";

async fn no_secret_is_made_but_the_one_with_the_certificates() -> Outcome {
    let place = taken_over().await?;
    let (admin, account) = (place.cluster.admin().await, place.release.api().await);
    let secret = json!({
        "metadata": {"name": "slipway-tls", "labels": {"app.kubernetes.io/managed-by": "slipway"}},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": "", "tls.key": ""},
    });
    let token = json!({
        "metadata": {
            "name": "slipway-tls",
            "annotations": {"kubernetes.io/service-account.name": "default"},
        },
        "type": "kubernetes.io/service-account-token",
    });
    let mut opaque = secret.clone();
    opaque["type"] = json!("Opaque");
    let mut generated = secret.clone();
    generated["metadata"] = json!({"generateName": "slipway-tls"});
    let mut attacks = vec![
        token,
        opaque,
        generated,
        with(&secret, "metadata", &json!({"name": "of-a-neighbour"})),
    ];
    attacks.extend(unwanted_metadata().map(|metadata| with(&secret, "metadata", &metadata)));
    for attack in attacks {
        let reply = account.post(SECRETS, &attack).await;
        assert_denied(&reply, "slipway-secret", &attack.to_string());
    }
    assert_eq!(admin.get(SECRET).await.status, 404);

    let made = account.post(SECRETS, &secret).await.ok();
    // The API server itself keeps the type; the guard does not rest on it.
    let mut retyped = made.clone();
    retyped["type"] = json!("Opaque");
    assert!(!account.put(SECRET, &retyped).await.is_ok());
    let mut kept = made.clone();
    kept["immutable"] = json!(true);
    let mut attacks = vec![kept];
    attacks.extend(unwanted_metadata().map(|metadata| with(&made, "metadata", &metadata)));
    for attack in attacks {
        let reply = account.put(SECRET, &attack).await;
        assert_denied(&reply, "slipway-secret", &attack.to_string());
    }
    let renewed = with(&made, "data", &json!({"ca.crt": base64("another")}));
    account.put(SECRET, &renewed).await.ok();
    Ok(())
}

async fn no_lease_is_made_but_the_leaders() -> Outcome {
    let place = taken_over().await?;
    let account = place.release.api().await;
    let lease = json!({"metadata": {"name": "slipway"}, "spec": {"holderIdentity": "a"}});
    let mut attacks = vec![with(
        &lease,
        "metadata",
        &json!({"name": "leader-of-a-neighbour"}),
    )];
    attacks.extend(unwanted_metadata().map(|metadata| with(&lease, "metadata", &metadata)));
    for attack in attacks {
        let reply = account.post(LEASES, &attack).await;
        assert_denied(&reply, "slipway-lease", &attack.to_string());
    }
    let made = account.post(LEASES, &lease).await.ok();
    for metadata in unwanted_metadata() {
        let attack = with(&made, "metadata", &metadata);
        let reply = account.put(LEASE, &attack).await;
        assert_denied(&reply, "slipway-lease", &attack.to_string());
    }
    let renewed = with(&made, "spec", &json!({"holderIdentity": "b"}));
    account.put(LEASE, &renewed).await.ok();
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        no_secret_is_made_but_the_one_with_the_certificates,
        no_lease_is_made_but_the_leaders,
    ]
}
