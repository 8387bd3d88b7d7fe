//! Certificates of mode `self`, which the replicas create and renew.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    harness::{ACCOUNT, Signal, base64, eventually, old_authority},
    place::{Place, count},
};

pub const SECRET: &str = "/api/v1/namespaces/slipway-system/secrets/slipway-tls";
pub const SECRETS: &str = "/api/v1/namespaces/slipway-system/secrets";
pub const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/slipway-system/leases/slipway";
pub const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/slipway";

impl Place {
    /// Returns the CA certificates that the API server trusts, as PEM.
    pub async fn ca_bundle(&self) -> String {
        let configuration = self.api.get(CONFIGURATION).await.ok();
        decoded(&configuration["webhooks"][0]["clientConfig"]["caBundle"])
    }

    /// Returns the holder of the Lease.
    async fn leader(&self) -> Option<String> {
        let lease = self.api.get(LEASE).await;
        let holder = lease.body["spec"]["holderIdentity"].as_str()?;
        Some(holder.to_owned())
    }

    async fn secret(&self) -> Value {
        self.api.get(SECRET).await.ok()["data"].clone()
    }
}

fn decoded(value: &Value) -> String {
    let bytes = STANDARD.decode(value.as_str().unwrap_or_default());
    String::from_utf8(bytes.unwrap()).unwrap()
}

fn certificates(pem: &str) -> usize {
    pem.matches("BEGIN CERTIFICATE").count()
}

async fn two_replicas_that_start_at_once_create_one_ca() -> Outcome {
    let place = Place::new("install").await?;
    let (a, b) = (place.release.start("a"), place.release.start("b"));
    a.until_ready().await;
    b.until_ready().await;
    let trusted = place.ca_bundle().await;
    assert_eq!(certificates(&trusted), 1);
    assert_eq!(decoded(&place.secret().await["ca.crt"]), trusted);
    // The API server accepts the certificate of each.
    for replica in [&a, &b] {
        place.release.route_to([replica]);
        place.until_patched().await;
    }
    assert_eq!(place.ca_bundle().await, trusted);
    Ok(())
}

/// Returns the replicas' writes, with verb, resource and status, except renewals of the Lease.
fn writes(place: &Place) -> Vec<String> {
    let events = place.cluster.audit_events(ACCOUNT).into_iter();
    let written = events.map(|event| {
        let of = |pointer| event.pointer(pointer).cloned().unwrap_or_default();
        let [verb, resource, code] = [
            of("/verb"),
            of("/objectRef/resource"),
            of("/responseStatus/code"),
        ];
        (verb, resource, code)
    });
    written
        .filter(|(verb, resource, _)| {
            let reads = ["get", "list", "watch"].iter().any(|read| verb == read);
            !reads && resource != "leases" && resource != "events"
        })
        .map(|(verb, resource, code)| format!("{verb} {resource} {code}").replace('"', ""))
        .collect()
}

async fn replicas_never_fight_even_if_their_leader_dies() -> Outcome {
    let place = Place::new("leaders").await?;
    let mut replicas: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|name| (name, place.release.start(name)))
        .collect();
    for (_, replica) in &replicas {
        replica.until_ready().await;
    }
    let trusted = place.ca_bundle().await;
    let once = [
        "create secrets 201",
        "patch mutatingwebhookconfigurations 200",
    ];
    assert_eq!(writes(&place), once);

    let leader = place.leader().await.unwrap();
    let dies = replicas.iter().position(|(name, _)| *name == leader);
    let (_, mut dead) = replicas.remove(dies.unwrap());
    dead.end(Signal::Kill).await;
    eventually("another one to lead", async || {
        let now = place.leader().await?;
        (now != leader).then_some(())
    })
    .await;
    // It changes nothing that is in order, and repairs the rest.
    assert_eq!(place.ca_bundle().await, trusted);
    let erased = json!({"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"});
    place.api.patch(CONFIGURATION, &json!([erased])).await.ok();
    eventually("the caBundle to be back", async || {
        (place.ca_bundle().await == trusted).then_some(())
    })
    .await;
    assert_eq!(writes(&place), [&once[..], &once[1..]].concat());
    Ok(())
}

async fn certificates_are_renewed_under_load() -> Outcome {
    let place = Place::new("rotation").await?;
    // A CA that expires soon: the next one is created, and trusted before it signs.
    let (certificate, key) = old_authority();
    let secret = json!({
        "metadata": {"name": "slipway-tls"},
        "type": "kubernetes.io/tls",
        "data": {"ca.crt": base64(&certificate), "ca.key": base64(&key), "tls.crt": "", "tls.key": ""},
    });
    place.api.post(SECRETS, &secret).await.ok();
    let (a, b) = (place.release.start("a"), place.release.start("b"));
    a.until_ready().await;
    b.until_ready().await;
    place.release.route_to([&a, &b]);
    place.until_patched().await;
    assert_eq!(certificates(&place.ca_bundle().await), 2);

    let before = place.failed_open().await;
    let load = place.load();
    load.go_on().await;
    // As if an hour had passed: the next CA signs.
    let shown = place.secret().await;
    let promote = json!({"data": {"ca.key": shown["next-ca.key"], "next-ca.key": null}});
    place.api.merge(SECRET, &promote).await.ok();
    let reloads = |log: &str| log.matches("serving a new certificate").count();
    eventually(
        "both replicas to serve the new CA's certificate",
        async || {
            let both = reloads(&a.log()) >= 2 && reloads(&b.log()) >= 2;
            both.then_some(())
        },
    )
    .await;
    load.go_on().await;
    let (_, plain) = count(load.end().await);
    assert_eq!(plain, 0);
    assert_eq!(place.failed_open().await, before);
    place.assert_nothing_waited().await;
    // Those connections stayed open; a new one gets the new certificate.
    place.release.close_connections();
    place.until_patched().await;
    let renewed = place.secret().await;
    assert_ne!(renewed["tls.crt"], shown["tls.crt"]);
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        two_replicas_that_start_at_once_create_one_ca,
        replicas_never_fight_even_if_their_leader_dies,
        certificates_are_renewed_under_load,
    ]
}
