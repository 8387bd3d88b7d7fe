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
use slipway_core::policy::{Policy, values::MirrorUrl};
use tokio::{net::TcpStream, time};
use tracing::{info, warn};

use crate::cluster::state::LiveState;

/// How often each mirror is probed.
const EVERY: Duration = Duration::from_secs(15);
/// How long a probe may take, name resolution included.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// The number of failed probes in a row after which a mirror that has answered is dead. One success
/// revives it.
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
        probes.round(policy.registry_mirrors()).await;
        let known = state.load();
        // The policy may have been replaced during the round.
        if !known.mirrors_probed || known.dead_mirrors != probes.dead_of(&known.policy) {
            state.update(|state| {
                state.dead_mirrors = probes.dead_of(&state.policy);
                state.mirrors_probed = true;
            });
        }
    }
}

/// The results of the last probes.
#[derive(Debug, Default)]
struct Probes {
    /// Failures in a row, by mirror. A mirror that has never answered is dead from its first failure.
    failures: BTreeMap<String, u32>,
}

impl Probes {
    /// Probes all mirrors once, at the same time.
    async fn round(&mut self, mirrors: BTreeSet<&MirrorUrl>) {
        let probes = mirrors.iter().map(|mirror| answers(mirror));
        let answers = join_all(probes).await;
        let failures = mirrors.into_iter().zip(answers).map(|(mirror, answers)| {
            let before = self.failures.get(mirror.as_str()).copied();
            let failures = match (answers, before) {
                (true, _) => 0,
                (false, None) => DEAD_AFTER,
                (false, Some(before)) => before.saturating_add(1),
            };
            log_change(mirror.as_str(), before.unwrap_or_default(), failures);
            (mirror.to_string(), failures)
        });
        self.failures = failures.collect();
    }

    /// Returns the mirrors of a policy that pods should not use: those that are dead, and those that have
    /// not been probed yet.
    fn dead_of(&self, policy: &Policy) -> Arc<[String]> {
        let is_alive = |mirror: &&MirrorUrl| {
            let failures = self.failures.get(mirror.as_str());
            failures.is_some_and(|failures| *failures < DEAD_AFTER)
        };
        let mirrors = policy.registry_mirrors().into_iter();
        let dead = mirrors.filter(|mirror| !is_alive(mirror));
        dead.map(ToString::to_string).collect()
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
    use crate::cluster::state::ClusterState;

    fn policy(mirrors: &[&str]) -> Policy {
        let urls: Vec<String> = mirrors.iter().map(|mirror| format!("'{mirror}'")).collect();
        let urls = urls.join(", ");
        Policy::parse(&format!(
            "profiles: {{default: {{dind: {{registryMirrors: [{urls}]}}}}}}"
        ))
        .unwrap()
    }

    #[tokio::test]
    async fn a_mirror_is_dead_after_two_failures_and_alive_after_one_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let policy = policy(&[&url]);
        let mut probes = Probes::default();
        probes.round(policy.registry_mirrors()).await;
        assert!(probes.dead_of(&policy).is_empty());

        drop(listener);
        probes.round(policy.registry_mirrors()).await;
        assert!(
            probes.dead_of(&policy).is_empty(),
            "one failure is not enough"
        );
        probes.round(policy.registry_mirrors()).await;
        assert_eq!(*probes.dead_of(&policy), [url]);

        let _listener = TcpListener::bind(address).await.unwrap();
        probes.round(policy.registry_mirrors()).await;
        assert!(probes.dead_of(&policy).is_empty());
    }

    #[tokio::test]
    async fn a_mirror_that_has_never_answered_is_dead_from_its_first_failure() {
        let url = "http://127.0.0.1:1";
        let policy = policy(&[url]);
        let mut probes = Probes::default();
        assert_eq!(*probes.dead_of(&policy), [url], "before the first probe");
        probes.round(policy.registry_mirrors()).await;
        assert_eq!(*probes.dead_of(&policy), [url]);
    }

    #[tokio::test]
    async fn a_mirror_is_handed_out_once_it_has_answered_and_the_replica_is_ready_after_the_first_round()
     {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = format!("http://{}", listener.local_addr().unwrap());
        let dead = "http://127.0.0.1:1";
        let state = ClusterState {
            policy: policy(&[&alive, dead]).into(),
            nodes: Some(Arc::default()),
            namespaces: Some(Arc::default()),
            ..ClusterState::default()
        };
        let state = LiveState::new(state.probing_mirrors());
        assert_eq!(state.load().dead_mirrors.len(), 2);
        assert_eq!(
            state.load().missing(),
            ["the registry mirrors have not been probed yet"]
        );
        tokio::select! {
            () = follow(&state) => {}
            () = state.until(|state| state.missing().is_empty()) => {}
        }
        assert_eq!(*state.load().dead_mirrors, [dead]);

        // A new policy names another mirror.
        let new = policy(&[&alive, "http://127.0.0.1:2"]);
        let new = Arc::new(new);
        state.update(|state| state.set_policy(Arc::clone(&new)));
        let unproven = state.load().dead_mirrors.clone();
        assert!(
            unproven.contains(&"http://127.0.0.1:2".to_owned()),
            "{unproven:?}"
        );
        assert!(!unproven.contains(&alive), "{unproven:?}");
    }

    #[tokio::test]
    async fn a_mirror_that_left_the_policy_is_dropped() {
        let mut probes = Probes {
            failures: [("http://127.0.0.1:1".to_owned(), DEAD_AFTER)].into(),
        };
        probes.round(BTreeSet::new()).await;
        assert!(probes.failures.is_empty());
    }
}
