//! Reviews of pods that do not exist, from a client that is not the API server.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use slipway_core::cache::claims::Claim;
use slipway_testkit::api_server::ApiServer;

use super::cluster::{PODS, Replica, policy, review, set_claim, stored, until_stored};

const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 66));

/// Starts a leader with a pool of two claims, one of which a real pod has used.
async fn leader(server: &ApiServer) -> Replica {
    for index in 0..2 {
        set_claim(server, index, &json!({}));
    }
    let mut replica = Replica::start(server, "replica", policy("claims: 2")).await;
    replica.lead();
    let admitted = replica.admit(&review("real", "set")).await;
    admitted.store(server, "real");
    server.edit(&format!("{PODS}/real"), |pod| {
        pod["status"] = json!({"phase": "Succeeded"});
    });
    until_all_free(server, &replica).await;
    replica
}

async fn until_all_free(server: &ApiServer, replica: &Replica) {
    until_stored(server, 2, |claims| claims.iter().all(Claim::is_free)).await;
    replica
        .until(|claims| claims.iter().all(|claim| claim.is_free()))
        .await;
}

#[tokio::test]
async fn a_client_whose_pods_never_appear_gets_no_more_claims_and_the_api_server_does() {
    let server = ApiServer::start();
    let replica = leader(&server).await;
    let forged = replica
        .admit_from(STRANGER, &review("forged-1", "set"))
        .await;
    assert!(forged.claim.is_some());
    until_all_free(&server, &replica).await;
    let unused = |claim: &Claim| claim.annotations.lease_used == Some(false);
    assert_eq!(
        stored(&server, 2)
            .iter()
            .filter(|claim| unused(claim))
            .count(),
        1
    );

    let again = replica
        .admit_from(STRANGER, &review("forged-2", "set"))
        .await;
    assert_eq!(again.claim, None);
    assert_eq!(
        replica.metric("slipway_pool_leases_total{outcome=\"suspended\"}"),
        1
    );
    // A burst from the API server gets the whole pool.
    for name in ["p1", "p2"] {
        let admitted = replica.admit(&review(name, "set")).await;
        assert!(admitted.claim.is_some(), "{name}");
        admitted.store(&server, name);
    }
}

#[tokio::test]
async fn a_lease_in_the_name_of_a_live_pod_ends_although_that_pod_lives() {
    let server = ApiServer::start();
    let replica = leader(&server).await;
    let admitted = replica.admit(&review("live", "set")).await;
    admitted.store(&server, "live");
    let forged = replica.admit_from(STRANGER, &review("live", "set")).await;
    let forged = forged.claim.unwrap();
    until_stored(&server, 2, |claims| {
        claims
            .iter()
            .any(|claim| claim.name == forged && claim.is_free())
    })
    .await;
    let held = stored(&server, 2);
    let held = held.iter().find(|claim| claim.name != forged).unwrap();
    assert_eq!(Some(&held.name), admitted.claim.as_ref());
    assert!(!held.is_free(), "the pod keeps its own claim");
}
