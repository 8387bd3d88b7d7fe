//! Probes the registry mirrors, so that new pods are not given a dead one: a mirror that swallows packets costs each
//! pull of a job two minutes.
//!
//! A probe only opens a TCP connection: that shows whether the mirror is there, and needs neither its CA nor
//! credentials.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use slipway_core::policy::values::MirrorUrl;
use tokio::{net::TcpStream, time};
use tracing::{info, warn};

use crate::cluster::state::LiveState;

/// How often each mirror is probed.
const EVERY: Duration = Duration::from_secs(15);
/// How long a probe may take, name resolution included.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// The number of failed probes in a row after which a mirror is dead. One success revives it.
const DEAD_AFTER: u32 = 2;

/// Probes the mirrors of the current policy, forever.
pub async fn follow(state: &LiveState) {
    let mut probes = Probes::default();
    let mut ticks = time::interval(EVERY);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut policy = Arc::clone(&state.load().policy);
    loop {
        // A changed policy may name a mirror that has never been probed.
        tokio::select! {
            _ = ticks.tick() => {}
            () = state.until(|state| !Arc::ptr_eq(&state.policy, &policy)) => {}
        }
        policy = Arc::clone(&state.load().policy);
        let changed = probes.round(policy.registry_mirrors()).await;
        if changed || !state.load().mirrors_probed {
            let dead: Arc<[String]> = probes.dead().into();
            state.update(|state| {
                state.dead_mirrors = Arc::clone(&dead);
                state.mirrors_probed = true;
            });
        }
    }
}

/// The results of the last probes.
#[derive(Debug, Default)]
struct Probes {
    /// Failures in a row, by mirror.
    failures: BTreeMap<String, u32>,
}

impl Probes {
    /// Probes all mirrors once, at the same time. Returns whether one of them died or came back.
    async fn round(&mut self, mirrors: BTreeSet<&MirrorUrl>) -> bool {
        let before = self.dead();
        let probes = mirrors.iter().map(|mirror| answers(mirror));
        let answers = join_all(probes).await;
        let failures = mirrors.into_iter().zip(answers).map(|(mirror, answers)| {
            let before = self
                .failures
                .get(mirror.as_str())
                .copied()
                .unwrap_or_default();
            let failures = if answers { 0 } else { before.saturating_add(1) };
            log_change(mirror.as_str(), before, failures);
            (mirror.to_string(), failures)
        });
        self.failures = failures.collect();
        self.dead() != before
    }

    fn dead(&self) -> Vec<String> {
        let dead = self.failures.iter().filter(|(_, n)| **n >= DEAD_AFTER);
        dead.map(|(mirror, _)| mirror.clone()).collect()
    }
}

fn log_change(mirror: &str, before: u32, failures: u32) {
    if failures == DEAD_AFTER {
        warn!(
            mirror,
            "the mirror does not answer; new pods do not use it until it does"
        );
    } else if failures == 0 && before >= DEAD_AFTER {
        info!(mirror, "the mirror answers again");
    }
}

async fn answers(mirror: &MirrorUrl) -> bool {
    let connect = TcpStream::connect(mirror.address());
    matches!(time::timeout(PROBE_TIMEOUT, connect).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use slipway_core::policy::Policy;

    #[tokio::test]
    async fn a_mirror_is_dead_after_two_failures_and_alive_after_one_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let policy =
            Policy::parse(&format!("profiles: {{a: {{dind: {{registryMirrors: ['{url}']}}}}, default: {{dind: {{registryMirrors: []}}}}}}"))
                .unwrap();
        let mut probes = Probes::default();
        assert!(!probes.round(policy.registry_mirrors()).await);
        assert!(probes.dead().is_empty());

        drop(listener);
        assert!(
            !probes.round(policy.registry_mirrors()).await,
            "one failure is not enough"
        );
        assert!(probes.round(policy.registry_mirrors()).await);
        assert_eq!(probes.dead(), [url]);
        assert!(!probes.round(policy.registry_mirrors()).await);

        let _listener = TcpListener::bind(address).await.unwrap();
        assert!(probes.round(policy.registry_mirrors()).await);
        assert!(probes.dead().is_empty());
    }

    #[tokio::test]
    async fn a_mirror_that_left_the_policy_is_dropped() {
        let mut probes = Probes {
            failures: [("http://127.0.0.1:1".to_owned(), DEAD_AFTER)].into(),
        };
        assert!(probes.round(BTreeSet::new()).await);
        assert!(probes.dead().is_empty());
    }
}
