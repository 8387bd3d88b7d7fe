//! Outages under load: Slipway never makes a pod's creation fail or wait.

use serde_json::json;
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    fixture::status,
    harness::{Signal, eventually, pods},
    place::{Place, count, pod},
};

async fn pods_are_admitted_unchanged_while_slipway_is_down() -> Outcome {
    let place = Place::new("gone").await?;
    let mut replica = place.release.start_one().await;
    place.until_patched().await;
    replica.end(Signal::Kill).await;
    let before = place.failed_open().await;
    let load = place.load();
    load.go_on().await;
    // Neither a refused connection nor a Service without endpoints does harm.
    place.release.route_to([]);
    load.go_on().await;
    let (patched, plain) = count(load.end().await);
    assert_eq!(patched, 0);
    assert!(place.failed_open().await - before >= plain);
    place.assert_nothing_waited().await;

    // A new replica is called again.
    let _replica = place.release.start_one().await;
    place.until_patched().await;
    Ok(())
}

async fn a_replica_that_shuts_down_loses_no_request() -> Outcome {
    let place = Place::new("rollout").await?;
    let (mut old, mut stays) = (place.release.start("a"), place.release.start("b"));
    old.until_ready().await;
    stays.until_ready().await;
    place.release.route_to([&old, &stays]);
    place.until_patched().await;
    let before = place.failed_open().await;
    let load = place.load();
    load.go_on().await;
    // As in a rolling update: one replica is replaced by another.
    for name in ["c", "d", "e", "f"] {
        place.release.route_to([&stays]);
        old.end(Signal::Term).await;
        load.go_on().await;
        let new = place.release.start(name);
        new.until_ready().await;
        place.release.route_to([&stays, &new]);
        load.go_on().await;
        old = std::mem::replace(&mut stays, new);
    }
    let (_, plain) = count(load.end().await);
    assert_eq!(plain, 0);
    assert_eq!(place.failed_open().await, before);
    place.assert_nothing_waited().await;
    Ok(())
}

async fn a_killed_replica_delays_no_pod() -> Outcome {
    let place = Place::new("death").await?;
    let (a, mut b) = (place.release.start("a"), place.release.start("b"));
    a.until_ready().await;
    b.until_ready().await;
    place.release.route_to([&a, &b]);
    place.until_patched().await;
    let load = place.load();
    load.go_on().await;
    b.end(Signal::Kill).await;
    // For a while, half of the connections fail.
    load.go_on().await;
    place.release.route_to([&a]);
    place.until_patched().await;
    load.go_on().await;
    let (patched, _) = count(load.end().await);
    assert!(patched > 0);
    place.assert_nothing_waited().await;
    Ok(())
}

async fn a_frozen_replica_delays_a_pod_no_longer_than_the_timeout() -> Outcome {
    let place = Place::new("frozen").await?;
    let mut replica = place.release.start_one().await;
    place.until_patched().await;
    let before = place.failed_open().await;
    replica.send(Signal::Stop);
    // Neither over an open connection, nor over a new one.
    let (path, pod) = (pods::dry_run("ci"), pod());
    let create = || place.api.post(&path, &pod);
    let (one, another) = tokio::join!(create(), create());
    for reply in [one, another] {
        assert_eq!(status(&reply.ok()), None);
    }
    assert_eq!(place.failed_open().await, before + 2);
    replica.send(Signal::Continue);
    place.until_patched().await;
    Ok(())
}

async fn the_api_server_restarts_under_load() -> Outcome {
    let mut place = Place::new("restart").await?;
    let replica = place.release.start_one().await;
    place.until_patched().await;
    let load = place.load();
    load.go_on().await;
    for signal in [Signal::Term, Signal::Kill] {
        place.assert_nothing_waited().await;
        place.cluster.stop(signal).await;
        load.go_on().await;
        // It continues to serve with the last known state.
        replica.until_ready().await;
        place.cluster.restart().await;
        place.until_patched().await;
        load.go_on().await;
    }
    place.assert_nothing_waited().await;
    // While the API server itself shuts down it may answer with errors, none of them about the webhook.
    for reply in load.end().await.into_iter().flatten() {
        let message = reply.message();
        assert!(reply.is_ok() || !message.contains("webhook"), "{message}");
    }
    let problems = replica.metric("slipway_admission_problems_total").await;
    assert!(problems < 0.5, "{problems}");
    // The outage is logged once, with its meaning; a library's log lines would lack the context.
    let log = replica.log();
    assert!(
        log.contains("watch lost; the last known state stays in use"),
        "{log}"
    );
    assert!(!log.contains("\"message\":\"failed with "), "{log}");

    // Later changes are known: the watches continue.
    let labels = json!({"slipway.io/inject": "enabled", "slipway.io/profile": "added"});
    place.cluster.namespace("later", labels).await;
    eventually("the new namespace to be known", async || {
        let reply = place.api.post(&pods::dry_run("later"), &pod()).await;
        let status = status(&reply.body)?;
        (status["profile"] == "added").then_some(())
    })
    .await;
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        pods_are_admitted_unchanged_while_slipway_is_down,
        a_replica_that_shuts_down_loses_no_request,
        a_killed_replica_delays_no_pod,
        a_frozen_replica_delays_a_pod_no_longer_than_the_timeout,
        the_api_server_restarts_under_load,
    ]
}
