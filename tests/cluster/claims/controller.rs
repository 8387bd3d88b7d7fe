//! The leader's work on claims.

use serde_json::json;
use slipway_core::cache::claims::Claim;
use slipway_testkit::api_server::{ApiServer, Verb};

use super::cluster::{CLAIMS, PODS, Replica, policy, review, set_claim, stored, until_stored};

fn all_free(claims: &[Claim]) -> bool {
    !claims.is_empty() && claims.iter().all(Claim::is_free)
}

#[tokio::test]
async fn claims_are_created_in_advance_up_to_the_size_of_the_pool() {
    let server = ApiServer::start();
    let settings = "claims: 3, minFree: 2, size: 20Gi, storageClass: fast, accessMode: ReadWriteOnce, labels: {team: a}";
    let mut replica = Replica::start(&server, "replica", policy(settings)).await;
    replica.lead();
    until_stored(&server, 9, |claims| claims.len() == 2).await;
    let claim = server.object(&format!("{CLAIMS}/slipway-fast-0")).unwrap();
    assert_eq!(claim["spec"]["storageClassName"], "fast");
    assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteOnce"]));
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "20Gi");
    assert_eq!(claim["metadata"]["labels"]["team"], "a");
    assert_eq!(claim["metadata"]["labels"]["slipway.io/pool"], "fast");

    for i in 0..3 {
        replica
            .until(|claims| claims.iter().any(|claim| claim.is_free()))
            .await;
        let name = format!("p{i}");
        let admitted = replica.admit(&review(&name, "set")).await;
        assert!(admitted.claim.is_some(), "{name}");
        admitted.store(&server, &name);
    }
    assert_eq!(stored(&server, 9).len(), 3, "the pool has its full size");
    let leased = "slipway_pool_claims{profile=\"fast\",state=\"leased\"}";
    assert_eq!(replica.metric(leased), 3);
}

#[tokio::test]
async fn a_lease_ends_when_its_pod_is_gone_or_has_ended() {
    let server = ApiServer::start();
    for index in 0..2 {
        set_claim(&server, index, &json!({}));
    }
    let mut replica = Replica::start(&server, "replica", policy("claims: 2")).await;
    replica.lead();
    for name in ["gone", "ended"] {
        let admitted = replica.admit(&review(name, "set")).await;
        assert!(admitted.claim.is_some());
        admitted.store(&server, name);
    }
    server.edit(&format!("{PODS}/ended"), |pod| {
        pod["status"] = json!({"phase": "Succeeded"});
    });
    server.remove(&format!("{PODS}/gone"));
    until_stored(&server, 2, all_free).await;
    assert!(server.object(&format!("{PODS}/ended")).is_some());
}

#[tokio::test]
async fn a_lease_ends_when_its_pod_never_appears() {
    let server = ApiServer::start();
    set_claim(&server, 0, &json!({"slipway.io/lease": "nobody"}));
    let mut replica = Replica::start(&server, "replica", policy("claims: 1")).await;
    replica.lead();
    until_stored(&server, 1, all_free).await;
}

#[tokio::test]
async fn a_pod_of_another_namespace_cannot_keep_a_claim_by_naming_its_lease() {
    let server = ApiServer::start();
    set_claim(&server, 0, &json!({"slipway.io/lease": "r1"}));
    let pod = json!({"metadata": {"labels": {"slipway.io/lease": "r1"}}});
    server.set("/api/v1/namespaces/theirs/pods/p", pod);
    let mut replica = Replica::start(&server, "replica", policy("claims: 1")).await;
    replica.lead();
    until_stored(&server, 1, all_free).await;
}

#[tokio::test]
async fn a_pod_that_the_watch_does_not_show_keeps_its_claim() {
    let server = ApiServer::start();
    set_claim(&server, 0, &json!({"slipway.io/lease": "r1"}));
    // Somebody removed the label, so only the volume shows that the pod holds the claim.
    let pod = json!({"spec": {"volumes": [
        {"name": "x", "persistentVolumeClaim": {"claimName": "slipway-fast-0"}}]}});
    server.set(&format!("{PODS}/p"), pod);
    let mut replica = Replica::start(&server, "replica", policy("claims: 1")).await;
    server.clear_calls();
    replica.lead();
    // The controller checks the claim several times, and keeps the lease.
    for round in 1..4 {
        let lists = || {
            server
                .calls()
                .into_iter()
                .filter(|c| c.verb == Verb::List && c.path == PODS)
        };
        while lists().count() < round {
            server.until_called(|call| call.verb == Verb::List).await;
            tokio::task::yield_now().await;
        }
    }
    assert!(stored(&server, 1)[0].annotations.lease.is_some());
    server.remove(&format!("{PODS}/p"));
    until_stored(&server, 1, all_free).await;
}

#[tokio::test]
async fn a_new_leader_ends_a_lease_whose_pod_was_deleted_while_there_was_no_leader() {
    let server = ApiServer::start();
    set_claim(&server, 0, &json!({}));
    let mut a = Replica::start(&server, "replica-a", policy("claims: 1")).await;
    let leading = a.lead();
    let admitted = a.admit(&review("p", "set")).await;
    admitted.store(&server, "p");
    a.crash(leading);
    server.cut_watches();
    server.remove(&format!("{PODS}/p"));
    server.compact();
    let mut b = Replica::start(&server, "replica-b", policy("claims: 1")).await;
    b.lead();
    until_stored(&server, 1, all_free).await;
}

#[tokio::test]
async fn no_lease_ends_while_pods_cannot_be_listed() {
    let server = ApiServer::start();
    set_claim(&server, 0, &json!({"slipway.io/lease": "nobody"}));
    server.when(Verb::List, PODS).times(3).answer(403);
    let mut replica = Replica::start(&server, "replica", policy("claims: 1")).await;
    replica.lead();
    until_stored(&server, 1, all_free).await;
    let lists = server
        .calls()
        .into_iter()
        .filter(|c| c.verb == Verb::List && c.path == PODS);
    let answers: Vec<u16> = lists.map(|call| call.status).collect();
    assert_eq!(answers, [403, 403, 403, 200]);
    assert_eq!(
        replica.metric("slipway_pool_claim_changes_total{outcome=\"failed\"}"),
        3
    );
}

#[tokio::test]
async fn the_topology_of_a_bound_claim_is_recorded() {
    let server = ApiServer::start();
    set_claim(&server, 0, &json!({}));
    let terms = json!([{"matchExpressions": [
        {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]}]}]);
    server.set(
        "/api/v1/persistentvolumes/pv-1",
        json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}),
    );
    server.set("/api/v1/persistentvolumes/pv-2", json!({"spec": {}}));
    let mut replica = Replica::start(&server, "replica", policy("claims: 2, minFree: 2")).await;
    replica.lead();
    until_stored(&server, 2, |claims| claims.len() == 2).await;
    for (index, volume) in ["pv-1", "pv-2"].iter().enumerate() {
        set_claim(&server, index, &json!({}));
        server.edit(&format!("{CLAIMS}/slipway-fast-{index}"), |claim| {
            claim["spec"]["volumeName"] = json!(volume);
        });
    }
    let recorded =
        |claims: &[Claim]| claims.len() == 2 && claims.iter().all(|claim| !claim.lacks_topology());
    until_stored(&server, 2, recorded).await;
    let claims = stored(&server, 2);
    assert_eq!(claims[0].annotations.topology, Some(terms.to_string()));
    assert_eq!(claims[1].annotations.topology.as_deref(), Some("[]"));
}

#[tokio::test]
async fn an_idle_claim_is_deleted_but_not_one_that_was_leased_in_the_meantime() {
    let server = ApiServer::start();
    let old = json!({"slipway.io/cache-key": "set", "slipway.io/leases": "1",
        "slipway.io/last-used": "2020-01-01T00:00:00Z"});
    set_claim(&server, 0, &old);
    set_claim(&server, 1, &old);
    server
        .when(Verb::Delete, &format!("{CLAIMS}/slipway-fast-0"))
        .run(|server| {
            server.edit(&format!("{CLAIMS}/slipway-fast-0"), |claim| {
                claim["metadata"]["annotations"]["slipway.io/lease"] = json!("just-now");
            });
            let pod = json!({"metadata": {"labels": {"slipway.io/lease": "just-now"}}, "spec": {}});
            server.set(&format!("{PODS}/p"), pod);
        });
    let mut replica = Replica::start(&server, "replica", policy("claims: 3")).await;
    replica.lead();
    let gone = |claims: &[Claim]| {
        !claims
            .iter()
            .any(|claim| claim.annotations.last_used.is_some() && claim.is_free())
    };
    until_stored(&server, 2, gone).await;
    let kept = server.object(&format!("{CLAIMS}/slipway-fast-0")).unwrap();
    assert_eq!(
        kept["metadata"]["annotations"]["slipway.io/lease"],
        "just-now"
    );
}

#[tokio::test]
async fn a_claim_name_that_is_taken_is_skipped() {
    let server = ApiServer::start();
    server.set(&format!("{CLAIMS}/slipway-fast-0"), json!({"spec": {}}));
    let mut replica = Replica::start(&server, "replica", policy("claims: 1")).await;
    replica.lead();
    until_stored(&server, 2, |claims| claims.len() == 1).await;
    assert_eq!(stored(&server, 2)[0].name, "slipway-fast-1");
}
