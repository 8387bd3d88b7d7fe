//! Damaged Secrets.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use slipway_testkit::api_server::Verb;

use super::cluster::{DAY, Replica, SECRET, accepts, bundle, installed, start, stored};

type Damage = fn(&mut Value, &Value);

/// Ways to damage the Secret. Each also gets the Secret of another installation.
const DAMAGES: [(&str, Damage); 10] = [
    ("no data", |secret, _| secret["data"] = Value::Null),
    ("empty certificate", |s, _| s["data"]["tls.crt"] = json!("")),
    ("no certificate", |s, _| {
        s["data"].as_object_mut().unwrap().remove("tls.crt");
    }),
    ("bad certificate", |s, _| {
        s["data"]["tls.crt"] = text("garbage");
    }),
    ("bad PEM", |s, _| {
        s["data"]["ca.crt"] =
            text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    }),
    ("another key", |s, other| {
        s["data"]["tls.key"] = other["data"]["tls.key"].clone();
    }),
    ("no key of the CA", |s, _| {
        s["data"].as_object_mut().unwrap().remove("ca.key");
    }),
    ("another CA's key", |s, other| {
        s["data"]["ca.key"] = other["data"]["ca.key"].clone();
    }),
    ("another CA", |s, other| {
        s["data"]["ca.crt"] = other["data"]["ca.crt"].clone();
    }),
    ("another certificate and key", |s, other| {
        s["data"]["tls.crt"] = other["data"]["tls.crt"].clone();
        s["data"]["tls.key"] = other["data"]["tls.key"].clone();
    }),
];

fn text(text: &str) -> Value {
    STANDARD.encode(text).into()
}

async fn another() -> Value {
    installed().await.0.object(SECRET).unwrap()
}

#[tokio::test]
async fn a_follower_serves_the_last_good_certificate() {
    let (server, leader) = installed().await;
    let other = another().await;
    let good = server.object(SECRET).unwrap();
    let mut follower = Replica::new(&server, "follower");
    follower.follow(start()).await.unwrap();
    for (name, damage) in DAMAGES {
        server.edit(SECRET, |secret| damage(secret, &other));
        assert!(follower.follow(start()).await.is_err(), "{name}");
        assert_eq!(follower.leaf(), leader.leaf(), "{name}");
        let problem = follower.serving.problem().unwrap();
        assert!(problem.contains("slipway-tls cannot be used"), "{problem}");
        server.set(SECRET, good.clone());
        follower.follow(start()).await.unwrap();
        assert_eq!(follower.serving.problem(), None, "{name}");
    }
}

#[tokio::test]
async fn a_leader_restores_the_last_good_secret() {
    let (server, mut leader) = installed().await;
    let other = another().await;
    let good = server.object(SECRET).unwrap();
    for (name, damage) in DAMAGES {
        server.edit(SECRET, |secret| damage(secret, &other));
        leader.lead(start()).await.unwrap();
        assert_eq!(
            server.object(SECRET).unwrap()["data"],
            good["data"],
            "{name}"
        );
    }
    server.remove(SECRET);
    leader.lead(start()).await.unwrap();
    assert_eq!(server.object(SECRET).unwrap()["data"], good["data"]);
    assert_eq!(bundle(&server), stored(&server, "ca.crt"));
}

#[tokio::test]
async fn a_leader_that_has_just_started_repairs_the_secret() {
    let other = another().await;
    for (name, damage) in DAMAGES {
        let (server, _) = installed().await;
        server.edit(SECRET, |secret| damage(secret, &other));
        let mut fresh = Replica::new(&server, "fresh");
        fresh
            .lead(start())
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(bundle(&server), stored(&server, "ca.crt"), "{name}");
        assert!(accepts(&bundle(&server), &fresh.leaf(), start()), "{name}");
        server.clear_calls();
        fresh.lead(start()).await.unwrap();
        assert!(
            server.calls().iter().all(|call| call.verb == Verb::Get),
            "{name}"
        );
        let later = start() + DAY;
        fresh
            .lead(later)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(bundle(&server), stored(&server, "ca.crt"), "{name}");
        assert!(accepts(&bundle(&server), &fresh.leaf(), later), "{name}");
        assert_eq!(fresh.serving.not_ready_because(), None, "{name}");
    }
}

#[tokio::test]
async fn a_secret_that_expired_while_no_replica_ran_is_replaced() {
    let (server, _) = installed().await;
    for later in [start() + DAY * 100, start() + DAY * 500] {
        let mut fresh = Replica::new(&server, "fresh");
        fresh.lead(later).await.unwrap();
        assert!(accepts(&bundle(&server), &fresh.leaf(), later));
        assert_eq!(fresh.serving.not_ready_because(), None);
    }
}

#[tokio::test]
async fn unknown_keys_of_the_secret_are_kept() {
    let (server, mut leader) = installed().await;
    server.edit(SECRET, |secret| {
        secret["data"]["theirs"] = text("kept");
        secret["data"]["tls.crt"] = text("garbage");
    });
    leader.lead(start()).await.unwrap();
    assert_eq!(stored(&server, "theirs"), b"kept");
}
