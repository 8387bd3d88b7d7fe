//! The rights to claims, in every namespace.

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    super::{
        fixture::status,
        harness::{ACCOUNT, Api, eventually, pods},
        place::{NAMESPACE, Place, pod},
    },
    assert_denied, taken_over, unwanted_metadata, values, with,
};

const CLAIMS: &str = "/api/v1/namespaces/ci/persistentvolumeclaims";

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
        no_claim_is_made_but_empty_ones_of_pools,
        of_claims_only_slipways_annotations_are_changed_and_only_pools_are_deleted,
        a_pool_works_within_the_guards,
    ]
}
