//! Probes of the registry mirrors, so that a dead one is left out of new pods: a mirror that
//! swallows packets costs every pull of a job two minutes.
//!
//! A probe is a TCP connection, nothing more: it tells apart what matters, and needs neither the
//! mirror's CA nor its credentials.

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
/// How long a probe may take; a name that does not resolve in that time counts as dead, too.
const PATIENCE: Duration = Duration::from_secs(3);
/// A mirror is dead after this many probes in a row have failed, and alive after one succeeds.
const DEAD_AFTER: u32 = 2;

/// Probes the mirrors of the policy in force, for ever.
pub async fn follow(state: &LiveState) {
    let mut probes = Probes::default();
    let mut ticks = time::interval(EVERY);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut policy = Arc::clone(&state.load().policy);
    loop {
        // A changed policy may bring a mirror that was never probed.
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

/// How the last probes went.
#[derive(Debug, Default)]
struct Probes {
    /// Failures in a row.
    failures: BTreeMap<String, u32>,
}

impl Probes {
    /// Probes each mirror once, all at the same time. Whether one of them died or came back.
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
            tell(mirror.as_str(), before, failures);
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

fn tell(mirror: &str, before: u32, failures: u32) {
    if failures == DEAD_AFTER {
        warn!(
            mirror,
            "mirror does not answer; new pods get none of it until it does"
        );
    } else if failures == 0 && before >= DEAD_AFTER {
        info!(mirror, "mirror answers again");
    }
}

async fn answers(mirror: &MirrorUrl) -> bool {
    let connect = TcpStream::connect(mirror.address());
    matches!(time::timeout(PATIENCE, connect).await, Ok(Ok(_)))
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
            "once is no proof"
        );
        assert!(probes.round(policy.registry_mirrors()).await);
        assert_eq!(probes.dead(), [url]);
        assert!(!probes.round(policy.registry_mirrors()).await);

        let _listener = TcpListener::bind(address).await.unwrap();
        assert!(probes.round(policy.registry_mirrors()).await);
        assert!(probes.dead().is_empty());
    }

    #[tokio::test]
    async fn a_mirror_that_left_the_policy_is_forgotten() {
        let mut probes = Probes {
            failures: [("http://127.0.0.1:1".to_owned(), DEAD_AFTER)].into(),
        };
        assert!(probes.round(BTreeSet::new()).await);
        assert!(probes.dead().is_empty());
    }
}
