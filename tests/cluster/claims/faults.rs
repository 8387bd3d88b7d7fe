//! A pod gets the fallback when the API server hangs or refuses.

use serde_json::json;
use slipway_core::admission::{Admission, admit};
use slipway_testkit::api_server::{ApiServer, Verb};

use super::cluster::{CLAIMS, Replica, policy, review, set_claim};

async fn one_claim() -> (ApiServer, Replica) {
    let server = ApiServer::start();
    set_claim(&server, 0, &json!({}));
    let replica = Replica::start(&server, "replica", policy("claims: 5")).await;
    (server, replica)
}

fn has_scratch(pod: &serde_json::Value) -> bool {
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    volumes
        .iter()
        .any(|volume| volume["name"] == "slipway-docker-cache" && volume["emptyDir"].is_object())
}

fn leases(replica: &Replica, outcome: &str) -> u64 {
    replica.metric(&format!(
        "slipway_pool_leases_total{{outcome=\"{outcome}\"}}"
    ))
}

#[tokio::test]
async fn a_pod_whose_lease_is_refused_gets_the_fallback() {
    for status in [403, 422, 500, 503] {
        let (server, replica) = one_claim().await;
        server.when(Verb::Patch, CLAIMS).answer(status);
        let admitted = replica.admit(&review("r1", "set")).await;
        assert!(has_scratch(&admitted.pod), "{status}");
        assert_eq!(admitted.response["allowed"], true);
        assert_eq!(leases(&replica, "failed"), 1);
        let next = replica.admit(&review("r2", "set")).await;
        assert!(
            next.claim.is_some(),
            "the claim cannot be leased after {status}"
        );
    }
}

#[tokio::test]
async fn a_pod_gets_the_fallback_when_the_api_server_hangs() {
    let (server, replica) = one_claim().await;
    let gate = server.when(Verb::Patch, CLAIMS).hold();
    let admitted = replica.admit(&review("r1", "set")).await;
    assert!(has_scratch(&admitted.pod));
    assert_eq!(leases(&replica, "timeout"), 1);
    gate.open();
}

#[tokio::test]
async fn a_claim_whose_lease_got_no_answer_is_not_leased_again() {
    let (server, replica) = one_claim().await;
    server.when(Verb::Patch, CLAIMS).lose_answer();
    let admitted = replica.admit(&review("r1", "set")).await;
    assert!(has_scratch(&admitted.pod));
    // The lease was written, so no other pod may have the claim until the controller releases it.
    let next = replica.admit(&review("r2", "set")).await;
    assert_eq!(next.claim, None);
}

#[tokio::test]
async fn without_permission_to_list_claims_pods_get_the_fallback() {
    let server = ApiServer::start();
    let state = super::cluster::cluster_state(policy("claims: 5"));
    assert!(state.claims.is_none());
    let body = review("r1", "set").to_string();
    let Admission::NeedsClaim(pending) = admit(body.as_bytes(), state.cluster()).unwrap() else {
        panic!("the pod does not need a claim");
    };
    assert!(pending.claim_request().candidates.is_none());
    drop(server);
}

#[tokio::test]
async fn a_claim_that_another_replica_has_just_leased_is_skipped() {
    let server = ApiServer::start();
    for index in 0..2 {
        set_claim(&server, index, &json!({}));
    }
    let replica = Replica::start(&server, "replica", policy("claims: 5")).await;
    server.when(Verb::Patch, CLAIMS).run(|server| {
        server.edit(&format!("{CLAIMS}/slipway-fast-0"), |claim| {
            claim["metadata"]["annotations"] = json!({"slipway.io/lease": "other"});
        });
    });
    let admitted = replica.admit(&review("r1", "set")).await;
    assert_eq!(admitted.claim.as_deref(), Some("slipway-fast-1"));
    let lost = server.object(&format!("{CLAIMS}/slipway-fast-0")).unwrap();
    assert_eq!(lost["metadata"]["annotations"]["slipway.io/lease"], "other");
}
