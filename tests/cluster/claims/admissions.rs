//! Admissions that lease claims.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;
use slipway_testkit::api_server::{ApiServer, Verb};

use slipway::cache_claims::Timings;
use slipway_core::cache::claims::Claim;

use super::cluster::{
    CLAIMS, PATIENCE, PODS, Replica, TIMINGS, asked, policy, review, set_claim, stored,
    until_stored,
};

const COUNT: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_pods_over_two_replicas_never_share_a_claim() {
    let server = ApiServer::start();
    for index in 0..COUNT {
        set_claim(&server, index, &json!({}));
    }
    let settings = "claims: 50";
    let replica = async |name| {
        let replica = Replica::start(&server, name, policy(settings)).await;
        replica.patient()
    };
    let (mut a, b) = (replica("replica-a").await, replica("replica-b").await);
    // All admissions share one task, so a pod may be stored long after its lease was written. The limit
    // is still below `PATIENCE`: a pod that is deleted before the controller sees it counts as one that
    // never appeared, and its lease ends only then.
    a.lead_at(Timings {
        appearance_timeout: PATIENCE / 3,
        ..TIMINGS
    });

    for wave in 0..3 {
        for replica in [&a, &b] {
            replica
                .until(|claims| claims.iter().filter(|claim| claim.is_free()).count() == COUNT)
                .await;
        }
        let pods = (0..200).map(|i| {
            let (server, replica) = (&server, if i % 2 == 0 { &a } else { &b });
            async move {
                let name = format!("w{wave}-p{i}");
                let admitted = replica.admit(&review(&name, "set")).await;
                admitted.store(server, &name);
                (name, admitted.claim)
            }
        });
        let mut pods = join_all(pods).await;
        // Claims that both replicas tried to lease at once may be left over: lease these too.
        let left = stored(&server, COUNT)
            .iter()
            .filter(|c| c.is_free())
            .count();
        b.until(|claims| claims.iter().filter(|claim| claim.is_free()).count() == left)
            .await;
        for i in 200..200 + left {
            let name = format!("w{wave}-p{i}");
            let admitted = b.admit(&review(&name, "set")).await;
            admitted.store(&server, &name);
            pods.push((name, admitted.claim));
        }

        let claims: Vec<&String> = pods
            .iter()
            .filter_map(|(_, claim)| claim.as_ref())
            .collect();
        let different: BTreeSet<&String> = claims.iter().copied().collect();
        assert_eq!(
            claims.len(),
            different.len(),
            "two pods have the same claim"
        );
        assert_eq!(claims.len(), COUNT, "some claims were not leased");
        for claim in stored(&server, COUNT) {
            let lease = claim.annotations.lease.unwrap().id;
            let (_, of_pod) = pods.iter().find(|(name, _)| *name == lease).unwrap();
            assert_eq!(
                of_pod.as_ref(),
                Some(&claim.name),
                "a claim has the lease of another pod"
            );
            assert_eq!(claim.annotations.leases, wave + 1);
            assert_eq!(
                claim.annotations.warm_leases, wave,
                "only the first lease is cold"
            );
        }

        for (name, _) in &pods {
            server.remove(&format!("{PODS}/{name}"));
        }
        until_stored(&server, COUNT, |claims| claims.iter().all(Claim::is_free)).await;
    }
    let creations = server
        .calls()
        .into_iter()
        .filter(|call| call.verb == Verb::Create);
    assert_eq!(creations.count(), 0, "the pool was complete from the start");
    let warm = |replica: &Replica| replica.metric("slipway_pool_leases_total{outcome=\"warm\"}");
    assert_eq!(warm(&a) + warm(&b), 100);
}

#[tokio::test]
async fn a_lease_is_one_write_and_nothing_else() {
    let server = ApiServer::start();
    set_claim(&server, 0, &json!({}));
    let replica = Replica::start(&server, "replica", policy("claims: 5")).await;
    server.clear_calls();
    let admitted = replica.admit(&review("r1", "set")).await;
    assert_eq!(admitted.claim.as_deref(), Some("slipway-fast-0"));
    assert_eq!(admitted.pod["metadata"]["labels"]["slipway.io/lease"], "r1");
    assert_eq!(
        admitted.response["auditAnnotations"]["claim"],
        "slipway-fast-0"
    );
    let calls = asked(&server);
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(
        (calls[0].verb, calls[0].path.as_str()),
        (Verb::Patch, format!("{CLAIMS}/slipway-fast-0").as_str())
    );
    assert_eq!(calls[0].field_manager.as_deref(), Some("slipway"));
}

#[tokio::test]
async fn a_pod_that_is_admitted_again_gets_no_second_claim() {
    let server = ApiServer::start();
    for index in 0..2 {
        set_claim(&server, index, &json!({}));
    }
    let replica = Replica::start(&server, "replica", policy("claims: 5")).await;
    let first = replica.admit(&review("r1", "set")).await;
    // A reinvocation: the same pod, in a request with another uid.
    let mut again = review("r2", "set");
    again["request"]["object"] = first.pod.clone();
    server.clear_calls();
    let second = replica.admit(&again).await;
    assert_eq!(second.pod, first.pod);
    assert_eq!(second.response["patch"], json!(null));
    assert!(asked(&server).is_empty(), "{:?}", asked(&server));
}

#[tokio::test]
async fn a_dry_run_leases_nothing() {
    let server = ApiServer::start();
    set_claim(&server, 0, &json!({}));
    let replica = Replica::start(&server, "replica", policy("claims: 5")).await;
    server.clear_calls();
    let mut dry = review("r1", "set");
    dry["request"]["dryRun"] = json!(true);
    let admitted = replica.admit(&dry).await;
    assert_eq!(admitted.claim, None);
    assert!(asked(&server).is_empty(), "{:?}", asked(&server));
}

#[tokio::test]
async fn each_runner_set_gets_its_own_layers_back_and_no_others() {
    let server = ApiServer::start();
    let used = |key: &str, minute: u8| {
        json!({"slipway.io/cache-key": format!("arc-{key}"), "slipway.io/leases": "1",
        "slipway.io/last-used": format!("2026-01-01T00:{minute:02}:00Z")})
    };
    set_claim(&server, 0, &used("one", 1));
    set_claim(&server, 1, &used("two", 2));
    let replica = Replica::start(&server, "replica", policy("claims: 2")).await;
    let two = replica.admit(&review("r1", "two")).await;
    assert_eq!(two.claim.as_deref(), Some("slipway-fast-1"));
    let three = replica.admit(&review("r2", "three")).await;
    assert_eq!(
        three.claim, None,
        "the free claim has the layers of another key"
    );

    let shared = Replica::start(&server, "shared", policy("claims: 2, strictKeys: false")).await;
    let three = shared.admit(&review("r3", "three")).await;
    assert_eq!(three.claim.as_deref(), Some("slipway-fast-0"));
}

#[tokio::test]
async fn a_claim_in_another_zone_is_not_leased() {
    let server = ApiServer::start();
    for (index, zone) in ["b", "a"].iter().enumerate() {
        let terms = json!([{"matchExpressions": [
            {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}]}]);
        set_claim(
            &server,
            index,
            &json!({"slipway.io/topology": terms.to_string()}),
        );
        server.edit(&format!("{CLAIMS}/slipway-fast-{index}"), |claim| {
            claim["spec"]["volumeName"] = json!("pv");
        });
    }
    let replica = Replica::start(&server, "replica", policy("claims: 2")).await;
    let in_a = |uid: &str| {
        let mut review = review(uid, "set");
        review["request"]["object"]["spec"]["nodeSelector"] =
            json!({"topology.kubernetes.io/zone": "a"});
        review
    };
    let first = replica.admit(&in_a("r1")).await;
    assert_eq!(first.claim.as_deref(), Some("slipway-fast-1"));
    assert_eq!(replica.admit(&in_a("r2")).await.claim, None);
    let mut anywhere = review("r3", "set");
    anywhere["request"]["object"]["spec"]["nodeSelector"] = json!({});
    let anywhere = replica.admit(&anywhere).await;
    assert_eq!(anywhere.claim.as_deref(), Some("slipway-fast-0"));
}
