//! Leader election against an API server with real versions, on clocks that the test moves.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use slipway::cluster::leader::{Candidate, Election};
use slipway_testkit::api_server::{ApiServer, Verb};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/slipway-system/leases/slipway";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/slipway-system/leases";

/// A clock that stands still until the test moves it.
#[derive(Clone)]
struct TestClock(Arc<Mutex<Instant>>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn pass(&self, seconds: u64) {
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
async fn of_two_candidates_one_leads_and_stays() {
    let (server, clock) = (ApiServer::start(), TestClock::new());
    let mut a = candidate(&server, &clock, "a");
    let mut b = candidate(&server, &clock, "b");
    for _ in 0..20 {
        a.tick().await.unwrap();
        b.tick().await.unwrap();
        assert!(a.leads() && !b.leads());
        clock.pass(2);
    }
    let spec = spec(&server);
    assert_eq!(spec["holderIdentity"], "a");
    assert_eq!(spec["leaseDurationSeconds"], 15);
    assert_eq!(spec["leaseTransitions"], 0);
}

#[tokio::test]
async fn two_who_create_or_take_it_at_once_get_one_leader() {
    let (server, clock) = (ApiServer::start(), TestClock::new());
    let mut a = candidate(&server, &clock, "a");
    let mut b = candidate(&server, &clock, "b");
    let gate = server.when(Verb::Create, LEASES).times(2).hold();
    let both = async { tokio::join!(a.tick(), b.tick()) };
    let together = async {
        server
            .until_called(|c| c.verb == Verb::Create && c.user == "a")
            .await;
        server
            .until_called(|c| c.verb == Verb::Create && c.user == "b")
            .await;
        gate.open();
    };
    let ((first, second), ()) = tokio::join!(both, together);
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert!(a.leads() != b.leads());

    server.edit(LEASE, |lease| {
        lease["spec"]["holderIdentity"] = json!("gone");
    });
    let mut a = candidate(&server, &clock, "a");
    let mut b = candidate(&server, &clock, "b");
    a.tick().await.unwrap();
    b.tick().await.unwrap();
    assert!(!a.leads() && !b.leads(), "it has been seen only once");
    clock.pass(16);
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
async fn a_holder_that_crashed_is_followed_after_the_lease_and_not_before() {
    let (server, clock) = (ApiServer::start(), TestClock::new());
    let mut a = candidate(&server, &clock, "a");
    let mut b = candidate(&server, &clock, "b");
    a.tick().await.unwrap();
    b.tick().await.unwrap();
    drop(a);
    for _ in 0..7 {
        clock.pass(2);
        b.tick().await.unwrap();
        assert!(!b.leads());
    }
    clock.pass(2);
    b.tick().await.unwrap();
    assert!(b.leads());
}

#[tokio::test]
async fn a_holder_that_is_cut_off_stops_before_another_begins() {
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
        clock.pass(1);
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
    assert!(!a.leads(), "it comes back as a follower");
}

#[tokio::test]
async fn what_the_lease_says_of_the_time_does_not_matter() {
    let (server, clock) = (ApiServer::start(), TestClock::new());
    for renewed in ["2001-01-01T00:00:00.000000Z", "2101-01-01T00:00:00.000000Z"] {
        let spec = json!({"holderIdentity": "x", "renewTime": renewed, "leaseDurationSeconds": 15});
        server.set(LEASE, json!({ "spec": spec }));
        let mut a = candidate(&server, &clock, "a");
        a.tick().await.unwrap();
        assert!(!a.leads(), "{renewed}");
        clock.pass(16);
        a.tick().await.unwrap();
        assert!(a.leads(), "{renewed}");
    }
}

#[tokio::test]
async fn a_leader_survives_errors_that_end_in_time() {
    let (server, clock) = (ApiServer::start(), TestClock::new());
    let mut a = candidate(&server, &clock, "a");
    a.tick().await.unwrap();
    for status in [500, 409, 403, 429] {
        server.when(Verb::Update, LEASES).answer(status);
        clock.pass(2);
        assert!(a.tick().await.is_err());
        assert!(a.leads(), "{status}");
    }
    server.when(Verb::Update, LEASES).lose_answer();
    assert!(a.tick().await.is_err());
    a.tick().await.unwrap();
    clock.pass(9);
    assert!(a.leads());
    server.edit(LEASE, |lease| {
        lease["spec"]["holderIdentity"] = json!("other");
    });
    a.tick().await.unwrap();
    assert!(!a.leads(), "somebody else holds it");
}

#[tokio::test]
async fn a_campaign_gives_the_lease_back_at_its_end() {
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
    assert!(b.leads(), "at once");
}

#[tokio::test]
async fn a_campaign_that_is_dropped_no_longer_leads() {
    let server = ApiServer::start();
    let mut election = Election::new(server.client("a"), "slipway-system", "slipway", "a");
    let mut leadership = election.leadership();
    election.tick().await;
    assert!(leadership.is_leader());
    drop(election);
    leadership.lost().await;
    assert!(!leadership.is_leader());
}
