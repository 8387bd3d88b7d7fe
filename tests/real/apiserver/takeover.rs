//! A replica that was taken over: whoever has its account gets no further than the guards let it.

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Skip, Test},
    tests,
};
use tokio::sync::OnceCell;

use super::{
    certificates::{CONFIGURATION, SECRET, SECRETS},
    fixture::status,
    harness::{ACCOUNT, Api, Reply, base64, eventually, guards::is_denied_by, old_authority, pods},
    place::{NAMESPACE, Place, pod},
};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/slipway-system/leases";
const CLAIMS: &str = "/api/v1/namespaces/ci/persistentvolumeclaims";

/// Values with every right that the chart can give.
fn values() -> Value {
    let mut values = Place::values();
    values["webhook"]["annotations"] = json!({"team": "ci"});
    let pool = json!({"type": "pool", "claims": 2, "storageClass": "fast", "size": "1Gi"});
    values["policy"]["profiles"]["default"]["dind"]["cache"] = pool;
    values
}

/// A release in which no replica runs: all that is done with its account, a test does.
async fn taken_over() -> Result<&'static Place, Skip> {
    static TAKEN_OVER: OnceCell<Result<Place, Skip>> = OnceCell::const_new();
    TAKEN_OVER
        .get_or_init(|| Place::with("taken-over", values()))
        .await
        .as_ref()
        .map_err(Clone::clone)
}

#[track_caller]
fn assert_denied(reply: &Reply, guard: &str, attack: &str) {
    let (status, message) = (reply.status, reply.message());
    assert!(
        is_denied_by(reply, guard),
        "{attack}: {status}: {message}, and not {guard}"
    );
}

fn owned() -> Value {
    json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "9b3f2a6c-0d5e-4a52-8a5b-0f3f6d0c7a11"}])
}

/// Metadata that an attacker might want an object to have.
fn unwanted_metadata() -> [Value; 4] {
    [
        json!({"labels": {"team": "other"}}),
        json!({"annotations": {"replicate-from": "other/secret"}}),
        json!({"ownerReferences": owned()}),
        json!({"finalizers": ["example.com/never"]}),
    ]
}

/// Lays the fields of `more` over those of `object`.
fn with(object: &Value, part: &str, more: &Value) -> Value {
    let mut changed = object.clone();
    for (field, value) in more.as_object().unwrap() {
        changed[part][field] = value.clone();
    }
    changed
}

fn replaced(field: &str, value: Value) -> Value {
    json!([{"op": "add", "path": field, "value": value}])
}

async fn a_webhook_configuration_takes_nothing_but_a_ca_bundle() -> Outcome {
    let place = taken_over().await?;
    let (admin, account) = (place.cluster.admin().await, place.release.api().await);
    // A second webhook, so that there is an order.
    let mut second = admin.get(CONFIGURATION).await.ok()["webhooks"][0].clone();
    second["name"] = json!("second.slipway.io");
    let added = replaced("/webhooks/-", second.clone());
    let before = admin.patch(CONFIGURATION, &added).await.ok();

    let everything = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]);
    let url = json!({"url": "https://evil.example/mutate"});
    let mut third = second;
    third["name"] = json!("third.slipway.io");
    let mut attacks = vec![
        replaced("/webhooks/0/rules", everything.clone()),
        replaced("/webhooks/1/rules", everything),
        json!([{"op": "remove", "path": "/webhooks/0/namespaceSelector"}]),
        replaced(
            "/webhooks/0/namespaceSelector/matchExpressions/0/values/-",
            json!(""),
        ),
        json!([{"op": "remove", "path": "/webhooks/0/objectSelector"}]),
        replaced("/webhooks/0/clientConfig", url),
        replaced(
            "/webhooks/0/clientConfig/service/path",
            json!("/mutate/all"),
        ),
        replaced("/webhooks/0/clientConfig/service/name", json!("evil")),
        replaced("/webhooks/0/clientConfig/service/namespace", json!("ci")),
        replaced("/webhooks/0/clientConfig/service/port", json!(8443)),
        replaced("/webhooks/0/failurePolicy", json!("Fail")),
        replaced("/webhooks/0/matchPolicy", json!("Exact")),
        replaced("/webhooks/0/reinvocationPolicy", json!("Never")),
        replaced("/webhooks/0/timeoutSeconds", json!(30)),
        replaced("/webhooks/0/sideEffects", json!("None")),
        replaced(
            "/webhooks/0/admissionReviewVersions",
            json!(["v1", "v1beta1"]),
        ),
        json!([{"op": "remove", "path": "/webhooks/0/matchConditions"}]),
        replaced("/webhooks/0/matchConditions/0/expression", json!("true")),
        replaced("/webhooks/0/name", json!("first.slipway.io")),
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
    let (bundle, _) = old_authority();
    let with_ca = json!([
        {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": base64(&bundle)},
        {"op": "add", "path": "/webhooks/0/rules/0/resources/-", "value": "secrets"},
    ]);
    attacks.push(with_ca);
    for attack in attacks {
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
    let path = format!("{LEASES}/slipway");
    for metadata in unwanted_metadata() {
        let attack = with(&made, "metadata", &metadata);
        let reply = account.put(&path, &attack).await;
        assert_denied(&reply, "slipway-lease", &attack.to_string());
    }
    let renewed = with(&made, "spec", &json!({"holderIdentity": "b"}));
    account.put(&path, &renewed).await.ok();
    Ok(())
}

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

fn claim(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"slipway.io/pool": "default"}},
        "spec": {
            "accessModes": ["ReadWriteOncePod"],
            "storageClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}

async fn no_claim_is_made_but_empty_ones_of_pools() -> Outcome {
    let place = taken_over().await?;
    let account = place.release.api().await;
    let pool = claim("slipway-default-7");
    let spec = |field: &str, value: Value| with(&pool, "spec", &json!({field: value}));
    let mut attacks = vec![
        with(&pool, "metadata", &json!({"labels": {}})),
        with(&pool, "metadata", &json!({"name": "data-postgres-0"})),
        with(&pool, "metadata", &json!({"name": "slipway-other-0"})),
        spec("volumeName", json!("of-another")),
        spec(
            "dataSource",
            json!({"kind": "PersistentVolumeClaim", "name": "database"}),
        ),
        spec("selector", json!({"matchLabels": {"team": "other"}})),
    ];
    let metadata = unwanted_metadata().into_iter().skip(1);
    attacks.extend(metadata.map(|metadata| with(&pool, "metadata", &metadata)));
    for attack in attacks {
        let reply = account.post(CLAIMS, &attack).await;
        assert_denied(&reply, "slipway-claims", &attack.to_string());
    }
    place.cluster.namespace("elsewhere", json!({})).await;
    let elsewhere = CLAIMS.replace("/ci/", "/elsewhere/");
    let reply = account.post(&elsewhere, &pool).await;
    assert_denied(
        &reply,
        "slipway-claims",
        "a namespace that has not opted in",
    );
    account.post(CLAIMS, &pool).await.ok();
    Ok(())
}

async fn of_claims_only_slipways_annotations_are_changed_and_only_pools_are_deleted() -> Outcome {
    let place = taken_over().await?;
    let (admin, account) = (place.cluster.admin().await, place.release.api().await);
    let mut database = claim("database");
    database["metadata"]["labels"] = json!({});
    admin.post(CLAIMS, &database).await.ok();
    let path = format!("{CLAIMS}/database");
    let held = json!({"metadata": {"annotations": {"slipway.io/lease": "a"}}});
    let labelled = json!({"metadata": {"labels": {"slipway.io/pool": "default"}}});
    for change in [&held, &labelled] {
        let reply = account.merge(&path, change).await;
        assert_denied(&reply, "slipway-claims", &change.to_string());
    }
    assert_denied(&account.delete(&path).await, "slipway-claims", "deletion");

    let mut layers = claim("slipway-default-8");
    layers["metadata"]["annotations"] = json!({"team": "ci"});
    admin.post(CLAIMS, &layers).await.ok();
    let path = format!("{CLAIMS}/slipway-default-8");
    let mut attacks: Vec<Value> = unwanted_metadata().into();
    attacks.extend([
        json!({"labels": {"slipway.io/pool": null}}),
        json!({"labels": {"slipway.io/pool": "other"}}),
        json!({"annotations": {"team": null}}),
        json!({"annotations": {"team": "other"}}),
        json!({"annotations": {"empty": ""}}),
        // The kubelet would no longer be waited for.
        json!({"finalizers": null}),
    ]);
    let mut attacks: Vec<Value> = attacks
        .into_iter()
        .map(|metadata| json!({"metadata": metadata}))
        .collect();
    attacks.push(json!({"spec": {"volumeName": "of-another"}}));
    for attack in attacks {
        let reply = account.merge(&path, &attack).await;
        assert_denied(&reply, "slipway-claims", &attack.to_string());
    }
    account.merge(&path, &held).await.ok();
    account.delete(&path).await.ok();
    Ok(())
}

async fn claims(api: &Api) -> Vec<Value> {
    let claims = api.get(CLAIMS).await.ok();
    claims["items"].as_array().unwrap().clone()
}

async fn a_pool_works_within_the_guards() -> Outcome {
    let place = Place::with("pool", values()).await?;
    let replica = place.release.start_one().await;
    let is_leased = |claim: &Value| {
        let annotations = &claim["metadata"]["annotations"];
        annotations["slipway.io/lease"].is_string()
    };
    let pod = eventually("a pod with a claim", async || {
        let path = pods::path(NAMESPACE);
        let pod = place.api.post(&path, &pod()).await.ok();
        let claims = claims(&place.api).await;
        status(&pod)?;
        claims.iter().any(is_leased).then_some(pod)
    })
    .await;
    // It comes when the leader has seen the lease, and its pod.
    eventually("another claim", async || {
        (claims(&place.api).await.len() == 2).then_some(())
    })
    .await;
    let name = pod["metadata"]["name"].as_str().unwrap();
    let path = format!("{}/{name}?gracePeriodSeconds=0", pods::path(NAMESPACE));
    place.api.delete(&path).await.ok();
    eventually("the lease to end", async || {
        let claims = claims(&place.api).await;
        (!claims.iter().any(is_leased)).then_some(())
    })
    .await;
    drop(replica);
    let asked = place.cluster.audit_events(ACCOUNT);
    let is_refused = |event: &&Value| event["responseStatus"]["code"] == 403;
    let refused: Vec<&Value> = asked.iter().filter(is_refused).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        a_webhook_configuration_takes_nothing_but_a_ca_bundle,
        no_secret_is_made_but_the_one_with_the_certificates,
        no_lease_is_made_but_the_leaders,
        events_are_written_in_its_own_name_where_it_is_wanted,
        no_claim_is_made_but_empty_ones_of_pools,
        of_claims_only_slipways_annotations_are_changed_and_only_pools_are_deleted,
        a_pool_works_within_the_guards,
    ]
}
