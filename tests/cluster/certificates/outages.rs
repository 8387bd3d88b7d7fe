//! An API server that refuses, is unreachable, or is written to by others.

use serde_json::json;
use slipway::certificates::CA_LIFETIME;
use slipway_testkit::api_server::Verb;

use super::cluster::{
    DAY, Replica, SECRET, SECRETS, WEBHOOKS, accepts, bundle, cas, cluster, installed, start,
    stored, webhook_configuration,
};

#[tokio::test]
async fn without_write_access_to_the_secret_the_last_good_certificate_is_served() {
    let server = cluster();
    let mut leader = Replica::new(&server, "leader");
    server.when(Verb::Create, SECRETS).answer(403);
    assert!(leader.lead(start()).await.is_err());
    let problem = leader.serving.problem().unwrap();
    assert!(
        problem.contains("failed to create the Secret slipway-tls"),
        "{problem}"
    );
    assert!(leader.serving.not_ready_because().is_some());

    leader.lead(start()).await.unwrap();
    assert_eq!(leader.serving.problem(), None);
    let leaf = leader.leaf();
    server.when(Verb::Update, SECRETS).always().answer(403);
    let later = start() + DAY * 61;
    assert!(leader.lead(later).await.is_err(), "renewal is due");
    assert_eq!(leader.leaf(), leaf);
    let problem = leader.serving.problem().unwrap();
    assert!(problem.contains("failed to update the Secret"), "{problem}");
    assert_eq!(leader.serving.not_ready_because(), None);

    server.clear_faults();
    leader.lead(later).await.unwrap();
    assert_ne!(leader.leaf(), leaf);
    assert_eq!(leader.serving.problem(), None);
}

#[tokio::test]
async fn without_read_access_to_the_secret_the_last_good_certificate_is_served() {
    let (server, mut leader) = installed().await;
    let leaf = leader.leaf();
    server.when(Verb::Get, SECRETS).answer(403);
    assert!(leader.lead(start()).await.is_err());
    assert_eq!(leader.leaf(), leaf);
    assert!(leader.serving.problem().unwrap().contains("failed to read"));
}

#[tokio::test]
async fn an_outage_of_the_api_server_changes_nothing() {
    let (server, mut leader) = installed().await;
    let (leaf, secret) = (leader.leaf(), server.object(SECRET));
    server.stop().await;
    for _ in 0..3 {
        assert!(leader.lead(start()).await.is_err());
    }
    assert_eq!(leader.leaf(), leaf);
    assert_eq!(leader.serving.not_ready_because(), None);
    server.resume();
    leader.lead(start()).await.unwrap();
    assert_eq!(leader.serving.problem(), None);
    assert_eq!(server.object(SECRET), secret);
}

#[tokio::test]
async fn a_conflict_is_resolved_by_reading_again() {
    let (server, mut leader) = installed().await;
    let later = start() + DAY * 61;
    server.when(Verb::Update, SECRETS).run(|server| {
        server.edit(SECRET, |s| s["metadata"]["labels"]["theirs"] = json!("yes"));
    });
    leader.lead(later).await.unwrap();
    let secret = server.object(SECRET).unwrap();
    assert_eq!(secret["metadata"]["labels"]["theirs"], "yes");
    assert!(leader.serving.expires_at().unwrap() > later + DAY * 80);

    server.when(Verb::Update, SECRETS).always().answer(409);
    let much_later = later + DAY * 61;
    let error = leader.lead(much_later).await.unwrap_err();
    assert!(error.to_string().contains("kept changing"), "{error}");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_not_repeated() {
    let server = cluster();
    let mut leader = Replica::new(&server, "leader");
    server.when(Verb::Create, SECRETS).lose_answer();
    assert!(leader.lead(start()).await.is_err());
    let made = stored(&server, "ca.crt");
    leader.lead(start()).await.unwrap();
    assert_eq!(stored(&server, "ca.crt"), made);
    assert_eq!(bundle(&server), made);
}

#[tokio::test]
async fn an_erased_ca_bundle_is_restored_by_the_leader_only() {
    let (server, mut leader) = installed().await;
    let mut follower = Replica::new(&server, "follower");
    let trusted = bundle(&server);
    server.set(WEBHOOKS, webhook_configuration());
    follower.follow(start()).await.unwrap();
    assert!(bundle(&server).is_empty());
    leader.lead(start()).await.unwrap();
    assert_eq!(bundle(&server), trusted);
}

#[tokio::test]
async fn a_webhook_configuration_that_changes_in_the_meantime_is_read_again() {
    let (server, mut leader) = installed().await;
    let trusted = bundle(&server);
    server.set(WEBHOOKS, webhook_configuration());
    server.when(Verb::Patch, WEBHOOKS).run(|server| {
        server.edit(WEBHOOKS, |configuration| {
            configuration["webhooks"].as_array_mut().unwrap().reverse();
        });
    });
    leader.lead(start()).await.unwrap();
    assert_eq!(bundle(&server), trusted);
    let configuration = server.object(WEBHOOKS).unwrap();
    assert_eq!(configuration["webhooks"][0]["name"], "more.slipway.io");
}

#[tokio::test]
async fn a_late_leader_does_not_restore_an_old_bundle() {
    let (server, mut old) = installed().await;
    let before = start() + CA_LIFETIME / 3 * 2 - DAY;
    old.lead(before).await.unwrap();
    let mut new = Replica::new(&server, "new");
    server.edit(WEBHOOKS, |c| {
        c["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
    });
    server.edit(WEBHOOKS, |c| {
        c["webhooks"][1]["clientConfig"]["caBundle"] = json!("");
    });
    let gate = server.when(Verb::Patch, WEBHOOKS).from("leader").hold();
    let late = tokio::spawn(async move {
        let result = old.lead(before).await;
        (old, result)
    });
    gate.reached().await;
    // For the new leader the next CA is due.
    let later = before + DAY * 2;
    new.lead(later).await.unwrap();
    let trusted = bundle(&server);
    assert_eq!(cas(&trusted), 2);
    gate.open();
    let (old, result) = late.await.unwrap();
    result.unwrap();
    assert_eq!(bundle(&server), trusted);
    assert!(accepts(&trusted, &old.leaf(), later));
    assert!(accepts(&trusted, &new.leaf(), later));
}

#[tokio::test]
async fn clients_accept_the_certificate_after_a_clock_jumps_and_returns() {
    for jump in [DAY * 365 * 5, DAY * 120, DAY * 2] {
        for (name, wrong) in [("forward", start() + jump), ("back", start() - jump)] {
            let (server, mut leader) = installed().await;
            leader.lead(wrong).await.unwrap();
            assert!(
                accepts(&bundle(&server), &leader.leaf(), wrong),
                "{name} {jump:?}"
            );
            let right = start() + DAY;
            leader.lead(right).await.unwrap();
            assert!(
                accepts(&bundle(&server), &leader.leaf(), right),
                "{name} {jump:?}"
            );
            let mut follower = Replica::new(&server, "follower");
            follower.follow(right).await.unwrap();
            assert!(
                accepts(&bundle(&server), &follower.leaf(), right),
                "{name} {jump:?}"
            );
        }
    }
}
