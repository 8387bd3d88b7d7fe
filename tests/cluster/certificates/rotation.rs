//! Renewals over years, in which no client ever refuses a replica's certificate.

use std::time::{Duration, SystemTime};

use slipway::certificates::{CA_LIFETIME, PROPAGATION, SERVING_LIFETIME};
use slipway_testkit::api_server::{ApiServer, Verb};

use super::cluster::{
    DAY, HOUR, MINUTE, Replica, SECRET, WEBHOOKS, accepts, bundle, cas, cluster, installed, start,
    webhook_configuration,
};

/// The bundles that API servers may still hold: the current one, and those replaced less than the
/// propagation time ago.
#[derive(Default)]
struct Held(Vec<(Vec<u8>, Option<SystemTime>)>);

impl Held {
    fn note(&mut self, server: &ApiServer, now: SystemTime) {
        let bundle = bundle(server);
        if self.0.last().is_none_or(|(last, _)| *last != bundle) {
            if let Some((_, until)) = self.0.last_mut() {
                *until = Some(now);
            }
            self.0.push((bundle, None));
        }
        self.0
            .retain(|(_, until)| until.is_none_or(|until| until + PROPAGATION >= now));
    }

    fn all_accept(&self, replica: &Replica, now: SystemTime) -> bool {
        let leaf = replica.leaf();
        self.0.iter().all(|(bundle, _)| accepts(bundle, &leaf, now))
    }
}

/// Returns two days, or minutes shortly after a change.
fn step(since_change: Duration) -> Duration {
    if since_change < HOUR * 2 {
        MINUTE * 20
    } else {
        DAY * 2
    }
}

#[tokio::test]
async fn over_two_years_every_possible_client_accepts_every_replica() {
    let server = cluster();
    // Their clocks differ by twenty minutes, with the client's in between.
    let early = |now: SystemTime| now - MINUTE * 10;
    let late = |now: SystemTime| now + MINUTE * 10;
    let mut a = Replica::new(&server, "a");
    let mut b = Replica::new(&server, "b");
    let mut cut_off = Replica::new(&server, "cut-off");
    a.lead(early(start())).await.unwrap();
    cut_off.follow(start()).await.unwrap();

    let mut held = Held::default();
    let (mut now, mut changed_at) = (start(), start());
    let (mut secret, mut most_cas) = (server.object(SECRET), 0);
    let mut leaves = Vec::new();
    let (mut restarts, mut visits) = (0, 0);
    while now < start() + CA_LIFETIME * 2 {
        let days = now.duration_since(start()).unwrap().as_secs() / DAY.as_secs();
        // The two take turns leading, and one is restarted now and then.
        if days % 14 < 7 {
            a.lead(early(now)).await.unwrap();
            b.follow(late(now)).await.unwrap();
        } else {
            b.lead(late(now)).await.unwrap();
            a.follow(early(now)).await.unwrap();
        }
        if days / 50 > restarts {
            restarts += 1;
            b = Replica::new(&server, "b");
            b.follow(late(now)).await.unwrap();
        }
        // This replica reaches the API server only every three weeks.
        if days / 21 > visits {
            visits += 1;
            cut_off.follow(now).await.unwrap();
        }
        held.note(&server, now);
        for (name, replica) in [("a", &a), ("b", &b), ("cut-off", &cut_off)] {
            assert!(held.all_accept(replica, now), "{name} on day {days}");
            assert_eq!(
                replica.serving.not_ready_because(),
                None,
                "{name} on day {days}"
            );
        }
        let current = server.object(SECRET);
        if current != secret {
            (secret, changed_at) = (current, now);
        }
        most_cas = most_cas.max(cas(&bundle(&server)));
        if leaves.last() != Some(&a.leaf()) {
            leaves.push(a.leaf());
        }
        now += step(now.duration_since(changed_at).unwrap());
    }
    assert!((11..=15).contains(&leaves.len()), "{}", leaves.len());
    assert_eq!(most_cas, 2);
}

#[tokio::test]
async fn the_next_ca_signs_only_after_it_has_been_trusted_long_enough() {
    let (server, mut leader) = installed().await;
    let due = start() + CA_LIFETIME / 3 * 2;
    // The serving certificate is renewed first, so that only the CA is due.
    leader.lead(due - DAY).await.unwrap();
    let leaf = leader.leaf();
    // While the caBundle cannot be written, the next CA exists but does not sign.
    server.when(Verb::Patch, WEBHOOKS).always().answer(403);
    for hours in 0..5 {
        assert!(leader.lead(due + HOUR * hours).await.is_err());
        assert_eq!(leader.leaf(), leaf);
    }
    assert_eq!(cas(&bundle(&server)), 1);

    server.clear_faults();
    let trusted = due + HOUR * 5;
    leader.lead(trusted).await.unwrap();
    assert_eq!(cas(&bundle(&server)), 2);
    leader.lead(trusted + MINUTE).await.unwrap();
    // After somebody erases it, the time starts again.
    server.set(WEBHOOKS, webhook_configuration());
    leader.lead(trusted + HOUR / 2).await.unwrap();
    leader.lead(trusted + HOUR / 2 + MINUTE).await.unwrap();
    leader.lead(trusted + PROPAGATION + MINUTE).await.unwrap();
    assert_eq!(leader.leaf(), leaf);
    leader.lead(trusted + PROPAGATION * 2).await.unwrap();
    assert_ne!(leader.leaf(), leaf);
    assert_eq!(cas(&bundle(&server)), 2, "the old CA is still trusted");
}

#[test]
fn a_ca_outlives_what_it_signed() {
    assert!(CA_LIFETIME / 3 > SERVING_LIFETIME + PROPAGATION * 24);
}
