//! Leader election against an API server that compares versions, on a clock that the tests advance.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use slipway::cluster::leader::{Candidate, Election};
use slipway_testkit::api_server::{ApiServer, Verb};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/slipway-system/leases/slipway";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/slipway-system/leases";

/// A clock that stands still until a test advances it.
#[derive(Clone)]
struct TestClock(Arc<Mutex<Instant>>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn advance(&self, seconds: u64) {
        *self.0.lock().unwrap() += Duration::from_secs(seconds);
    }
}

fn candidate(server: &ApiServer, clock: &TestClock, name: &str) -> Candidate {
    let clock = clock.clone();
    Candidate::new(server.client(name), "slipway-system", "slipway", name)
        .with_clock(Arc::new(move || *clock.0.lock().unwrap()))
}

fn spec(server: &ApiServer) -> Value {
    server.object(LEASE).unwrap()["spec"].clone()
}

#[tokio::test]
async fn of_two_candidates_one_leads_and_keeps_leading() {
    let (server, clock) = (ApiServer::start(), TestClock::new());
    let mut a = candidate(&server, &clock, "a");
    let mut b = candidate(&server, &clock, "b");
    for _ in 0..20 {
        a.tick().await.unwrap();
        b.tick().await.unwrap();
        assert!(a.leads() && !b.leads());
        clock.advance(2);
    }
    let spec = spec(&server);
    assert_eq!(spec["holderIdentity"], "a");
    assert_eq!(spec["leaseDurationSeconds"], 15);
    assert_eq!(spec["leaseTransitions"], 0);
}

#[tokio::test]
async fn candidates_that_write_the_lease_at_the_same_time_get_one_leader() {
    let (server, clock) = (ApiServer::start(), TestClock::new());
    let mut a = candidate(&server, &clock, "a");
    let mut b = candidate(&server, &clock, "b");
    let gate = server.when(Verb::Create, LEASES).times(2).hold();
    let both = async { tokio::join!(a.tick(), b.tick()) };
    let at_once = async {
        server
            .until_called(|c| c.verb == Verb::Create && c.user == "a")
            .await;
        server
            .until_called(|c| c.verb == Verb::Create && c.user == "b")
            .await;
        gate.open();
    };
    let ((first, second), ()) = tokio::join!(both, at_once);
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert!(a.leads() != b.leads());

    server.edit(LEASE, |lease| {
        lease["spec"]["holderIdentity"] = json!("gone");
    });
    let mut a = candidate(&server, &clock, "a");
    let mut b = candidate(&server, &clock, "b");
    a.tick().await.unwrap();
    b.tick().await.unwrap();
    assert!(
        !a.leads() && !b.leads(),
        "the Lease has not been seen to expire"
    );
    clock.advance(16);
    let rival = Arc::new(tokio::sync::Mutex::new(b));
    server.clear_calls();
    let gate = server.when(Verb::Update, LEASES).from("a").hold();
    let taking = tokio::spawn(async move {
        let result = a.tick().await;
        (a, result)
    });
    gate.reached().await;
    rival.lock().await.tick().await.unwrap();
    gate.open();
    let (a, result) = taking.await.unwrap();
    assert!(result.is_err() && !a.leads());
    assert!(rival.lock().await.leads());
    assert_eq!(spec(&server)["leaseTransitions"], 1);
}

#[tokio::test]
async fn a_crashed_leader_is_replaced_when_its_lease_expires_and_not_before() {
    let (server, clock) = (ApiServer::start(), TestClock::new());
    let mut a = candidate(&server, &clock, "a");
    let mut b = candidate(&server, &clock, "b");
    a.tick().await.unwrap();
    b.tick().await.unwrap();
    drop(a);
    for _ in 0..7 {
        clock.advance(2);
        b.tick().await.unwrap();
        assert!(!b.leads());
    }
    clock.advance(2);
    b.tick().await.unwrap();
    assert!(b.leads());
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_before_another_starts() {
    let (server, clock) = (ApiServer::start(), TestClock::new());
    let mut a = candidate(&server, &clock, "a");
    let mut b = candidate(&server, &clock, "b");
    a.tick().await.unwrap();
    b.tick().await.unwrap();
    server
        .when(Verb::Get, LEASES)
        .or_any_verb()
        .from("a")
        .always()
        .close();
    let mut leaders = Vec::new();
    for _ in 0..20 {
        clock.advance(1);
        assert!(a.tick().await.is_err());
        b.tick().await.unwrap();
        assert!(!(a.leads() && b.leads()));
        leaders.push((a.leads(), b.leads()));
    }
    assert_eq!(leaders[8], (true, false));
    assert_eq!(leaders[9], (false, false));
    assert_eq!(leaders[19], (false, true));

    server.clear_faults();
    a.tick().await.unwrap();
    assert!(!a.leads(), "it must come back as a follower");
}

#[tokio::test]
async fn the_times_in_the_lease_do_not_matter() {
    let (server, clock) = (ApiServer::start(), TestClock::new());
    for renewed in ["2001-01-01T00:00:00.000000Z", "2101-01-01T00:00:00.000000Z"] {
        let spec = json!({"holderIdentity": "x", "renewTime": renewed, "leaseDurationSeconds": 15});
        server.set(LEASE, json!({ "spec": spec }));
        let mut a = candidate(&server, &clock, "a");
        a.tick().await.unwrap();
        assert!(!a.leads(), "{renewed}");
        clock.advance(16);
        a.tick().await.unwrap();
        assert!(a.leads(), "{renewed}");
    }
}

#[tokio::test]
async fn a_leader_keeps_leading_through_short_failures() {
    let (server, clock) = (ApiServer::start(), TestClock::new());
    let mut a = candidate(&server, &clock, "a");
    a.tick().await.unwrap();
    for status in [500, 409, 403, 429] {
        server.when(Verb::Update, LEASES).answer(status);
        clock.advance(2);
        assert!(a.tick().await.is_err());
        assert!(a.leads(), "{status}");
    }
    server.when(Verb::Update, LEASES).lose_answer();
    assert!(a.tick().await.is_err());
    a.tick().await.unwrap();
    clock.advance(9);
    assert!(a.leads());
    server.edit(LEASE, |lease| {
        lease["spec"]["holderIdentity"] = json!("other");
    });
    a.tick().await.unwrap();
    assert!(!a.leads(), "another candidate holds the Lease");
}

#[tokio::test]
async fn an_election_releases_the_lease_at_its_end() {
    let server = ApiServer::start();
    let election = Election::new(server.client("a"), "slipway-system", "slipway", "a");
    let mut leadership = election.leadership();
    assert!(!leadership.is_leader());
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(election.run(async {
        let _ = ended.await;
    }));
    leadership.changed_from(false).await;
    end.send(()).unwrap();
    leadership.lost().await;
    running.await.unwrap();
    assert_eq!(spec(&server)["holderIdentity"], "");

    let clock = TestClock::new();
    let mut b = candidate(&server, &clock, "b");
    b.tick().await.unwrap();
    assert!(b.leads(), "the released Lease is free at once");
}

#[tokio::test]
async fn a_dropped_election_no_longer_leads() {
    let server = ApiServer::start();
    let mut election = Election::new(server.client("a"), "slipway-system", "slipway", "a");
    let mut leadership = election.leadership();
    election.tick().await;
    assert!(leadership.is_leader());
    drop(election);
    leadership.lost().await;
    assert!(!leadership.is_leader());
}
