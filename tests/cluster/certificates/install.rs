//! Installation: the first certificates, and the first replicas.

use std::sync::Arc;

use slipway::{
    certificates::{Options, run},
    cluster::leader::Election,
    tls::ServingCertificate,
};
use slipway_testkit::api_server::Verb;

use super::cluster::{
    HOST, Replica, SECRET, SECRETS, WEBHOOKS, accepts, bundle, cluster, installed, options, start,
    stored, webhook_configuration,
};

#[tokio::test]
async fn the_leader_makes_certificates_that_clients_accept() {
    let (server, leader) = installed().await;
    let secret = server.object(SECRET).unwrap();
    assert_eq!(secret["type"], "kubernetes.io/tls");
    assert_eq!(bundle(&server), stored(&server, "ca.crt"));
    assert!(accepts(&bundle(&server), &leader.leaf(), start()));

    let write = server.calls().into_iter().find(|c| c.verb == Verb::Patch);
    let manager = write.unwrap().field_manager;
    assert_eq!(manager.as_deref(), Some("slipway-certificates"));
    let mut configuration = server.object(WEBHOOKS).unwrap();
    for webhook in configuration["webhooks"].as_array_mut().unwrap() {
        let config = webhook["clientConfig"].as_object_mut().unwrap();
        config.remove("caBundle").unwrap();
    }
    let before = webhook_configuration();
    assert_eq!(configuration["webhooks"], before["webhooks"]);
}

#[tokio::test]
async fn nothing_is_written_if_everything_is_up_to_date() {
    let (server, mut leader) = installed().await;
    server.clear_calls();
    leader.lead(start()).await.unwrap();
    let mut follower = Replica::new(&server, "follower");
    follower.follow(start()).await.unwrap();
    assert_eq!(follower.leaf(), leader.leaf());
    assert!(server.calls().iter().all(|call| call.verb == Verb::Get));
}

#[tokio::test]
async fn two_leaders_at_once_agree_on_one_ca() {
    let server = cluster();
    let mut a = Replica::new(&server, "a");
    let mut b = Replica::new(&server, "b");
    let gate = server.when(Verb::Create, SECRETS).times(2).hold();
    let let_both_meet = async {
        for user in ["a", "b"] {
            server
                .until_called(|call| call.verb == Verb::Create && call.user == user)
                .await;
        }
        gate.open();
    };
    let (first, second, ()) = tokio::join!(a.lead(start()), b.lead(start()), let_both_meet);
    first.unwrap();
    second.unwrap();
    assert_eq!(a.leaf(), b.leaf());
    assert_eq!(bundle(&server), stored(&server, "ca.crt"));
    assert!(accepts(&bundle(&server), &b.leaf(), start()));
    for replica in [a, b] {
        assert_eq!(replica.serving.not_ready_because(), None);
    }
}

#[tokio::test]
async fn a_replica_is_ready_only_when_the_api_server_trusts_it() {
    let server = cluster();
    let mut leader = Replica::new(&server, "leader");
    let mut follower = Replica::new(&server, "follower");
    assert!(follower.follow(start()).await.is_err());
    let reason = follower.serving.not_ready_because().unwrap();
    assert!(reason.contains("no serving certificate"), "{reason}");

    server.when(Verb::Patch, WEBHOOKS).answer(500);
    assert!(leader.lead(start()).await.is_err());
    follower.follow(start()).await.unwrap();
    for replica in [&leader, &follower] {
        let reason = replica.serving.not_ready_because().unwrap();
        assert!(reason.contains("caBundle"), "{reason}");
    }
    leader.lead(start()).await.unwrap();
    follower.follow(start()).await.unwrap();
    assert_eq!(leader.serving.not_ready_because(), None);
    assert_eq!(follower.serving.not_ready_because(), None);

    server.set(WEBHOOKS, webhook_configuration());
    follower.follow(start()).await.unwrap();
    assert!(follower.serving.distrust().is_some());
    assert_eq!(
        follower.serving.not_ready_because(),
        None,
        "an unready pod would help no one"
    );
}

#[tokio::test]
async fn replicas_are_ready_without_a_readable_webhook_configuration() {
    let (server, _) = installed().await;
    server.remove(WEBHOOKS);
    let mut replica = Replica::new(&server, "a");
    replica.follow(start()).await.unwrap();
    assert_eq!(replica.serving.not_ready_because(), None);
    // Helm may create it after the pods.
    server.set(WEBHOOKS, webhook_configuration());
    replica.follow(start()).await.unwrap();
    assert!(replica.serving.not_ready_because().is_some());
    replica.lead(start()).await.unwrap();
    assert_eq!(replica.serving.not_ready_because(), None);

    server.when(Verb::Get, WEBHOOKS).always().answer(403);
    let mut blind = Replica::new(&server, "b");
    blind.follow(start()).await.unwrap();
    assert_eq!(blind.serving.not_ready_because(), None);
}

#[tokio::test]
async fn a_renamed_service_gets_a_certificate_from_the_same_ca() {
    let (server, leader) = installed().await;
    let trusted = bundle(&server);
    let serving = Arc::<ServingCertificate>::default();
    let renamed = Options {
        service: "webhook".to_owned(),
        ..options()
    };
    let mut rotation =
        slipway::certificates::Rotation::new(renamed, server.client("new"), Arc::clone(&serving));
    rotation.reconcile(true, start()).await.unwrap();
    assert_eq!(bundle(&server), trusted);
    let leaf = serving.chain().unwrap().remove(0);
    assert_ne!(leaf, leader.leaf());
    assert!(
        !accepts(&trusted, &leaf, start()),
        "the name is no longer {HOST}"
    );
}

#[tokio::test]
async fn replicas_install_repair_and_hand_over_the_ca_bundle() {
    let server = cluster();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let first = run_replica(&server, "a", async {
        let _ = ended.await;
    });
    server.until(|store| has_bundle(store.at(WEBHOOKS))).await;
    let second = run_replica(&server, "b", std::future::pending());
    server.set(WEBHOOKS, webhook_configuration());
    server.until(|store| has_bundle(store.at(WEBHOOKS))).await;

    end.send(()).unwrap();
    first.await.unwrap();
    server.compact();
    server.cut_watches();
    server.set(WEBHOOKS, webhook_configuration());
    server.until(|store| has_bundle(store.at(WEBHOOKS))).await;
    let mut patches = server.calls().into_iter().filter(|c| c.verb == Verb::Patch);
    assert_eq!(patches.next_back().unwrap().user, "b");
    second.abort();
}

fn has_bundle(configuration: Option<&serde_json::Value>) -> bool {
    configuration.is_some_and(|c| c["webhooks"][0]["clientConfig"]["caBundle"].is_string())
}

fn run_replica(
    server: &slipway_testkit::api_server::ApiServer,
    name: &str,
    end: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let client = server.client(name);
    let election = Election::new(client.clone(), "slipway-system", "slipway", name);
    let rotation = run(options(), client, Arc::default(), election.leadership());
    tokio::spawn(async move {
        tokio::select! {
            () = rotation => {}
            () = election.run(end) => {}
        }
    })
}
