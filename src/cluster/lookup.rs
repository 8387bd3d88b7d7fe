//! Looks up single namespaces that the watch does not show as opted in.
//!
//! The API server calls the webhook for a namespace as soon as it is labelled, often before the watch has
//! delivered the label. Anyone who reaches the port can name any namespace, so look-ups are bounded: one
//! in flight for each namespace, ten a second in all, and a "no" is kept for a second.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1;
use kube::{Api, Client};
use slipway_core::k8s::{names::is_dns_label, namespace::Namespace};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tracing::debug;

use super::{
    call::within,
    state::{ClusterState, LiveState},
};

/// How long a request may wait for a look-up.
const PATIENCE: Duration = Duration::from_secs(1);
/// The part of a request's time that is kept for its answer.
const RESERVE: Duration = Duration::from_millis(200);
/// How long the API server may take; requests do not wait that long, but no second look-up begins.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The most look-ups that begin within [`WINDOW`].
const MAX_BEGUN: usize = 10;
const WINDOW: Duration = Duration::from_secs(1);
/// How long a result is kept.
const KEPT: Duration = Duration::from_secs(1);

/// Looks up namespaces for one replica. Clones share the bounds.
#[derive(Clone)]
pub struct NamespaceLookup {
    client: Client,
    state: Arc<LiveState>,
    lookups: Arc<Mutex<Lookups>>,
}

impl fmt::Debug for NamespaceLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespaceLookup").finish_non_exhaustive()
    }
}

/// The result of a look-up.
#[derive(Debug, Clone)]
struct Ended {
    at: Instant,
    /// The namespace, if it has opted in.
    found: Option<Arc<Namespace>>,
}

/// A look-up in flight, or one that has ended.
type Running = watch::Receiver<Option<Ended>>;

#[derive(Debug, Default)]
struct Lookups {
    by_namespace: HashMap<String, Running>,
    /// When the latest look-ups began.
    begun: Vec<Instant>,
}

/// What to do for a request.
enum Next {
    /// Wait for this look-up.
    Wait(Running),
    /// Begin a look-up, and report its result here.
    Begin(watch::Sender<Option<Ended>>, Running),
    /// Use the snapshot: there are too many look-ups.
    GiveUp,
}

impl NamespaceLookup {
    /// Creates a look-up with this client, for requests that are decided on `state`.
    #[must_use]
    pub fn new(client: Client, state: Arc<LiveState>) -> Self {
        Self {
            client,
            state,
            lookups: Arc::default(),
        }
    }

    /// Returns a newer cluster state in which the namespace has opted in; `None` if it has not, or if that
    /// cannot be found out before the deadline.
    pub async fn newer_state(
        &self,
        namespace: &str,
        deadline: Instant,
    ) -> Option<Arc<ClusterState>> {
        // Before the first list, nothing is known of the namespace's limits.
        if !is_dns_label(namespace) || self.state.load().namespaces.is_none() {
            return None;
        }
        let now = Instant::now();
        let until = (now + PATIENCE).min(deadline.checked_sub(RESERVE).unwrap_or(now));
        let mut running = self.join(namespace, now)?;
        let ended = timeout_at(until, running.wait_for(Option::is_some)).await;
        let found = ended.ok()?.ok()?.as_ref()?.found.clone()?;
        // The watch may have published an older list since.
        self.publish(&found);
        Some(Arc::clone(&self.state.load()))
    }

    /// Joins the look-up of a namespace, or begins one.
    fn join(&self, namespace: &str, now: Instant) -> Option<Running> {
        let next = {
            let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
            lookups.next(namespace, now)
        };
        match next {
            Next::Wait(running) => Some(running),
            Next::GiveUp => None,
            Next::Begin(result, running) => {
                // A task of its own: it goes on when its request has no time left.
                let (lookup, namespace) = (self.clone(), namespace.to_owned());
                tokio::spawn(async move {
                    let found = lookup.get(&namespace).await.map(Arc::new);
                    if let Some(found) = &found {
                        lookup.publish(found);
                    }
                    let at = Instant::now();
                    result.send_replace(Some(Ended { at, found }));
                });
                Some(running)
            }
        }
    }

    /// Reads a namespace from the API server; `None` if it has not opted in.
    async fn get(&self, name: &str) -> Option<Namespace> {
        let api = Api::<v1::Namespace>::all(self.client.clone());
        let read = within(CALL_TIMEOUT, "read the namespace", name, api.get(name)).await;
        let labels = read
            .inspect_err(|error| debug!(%error, "the snapshot decides"))
            .ok()?
            .metadata
            .labels
            .unwrap_or_default();
        let found = Namespace {
            name: name.to_owned(),
            labels,
            ..Namespace::default()
        };
        found.is_enabled().then_some(found)
    }

    /// Adds a namespace to the live state, unless that shows it as opted in already. Its limits and quotas
    /// stay as they are known.
    fn publish(&self, found: &Namespace) {
        let shows = |state: &ClusterState| {
            let known = state
                .namespaces
                .as_ref()
                .and_then(|all| all.get(&found.name));
            known.is_some_and(Namespace::is_enabled)
        };
        if shows(&self.state.load()) {
            return;
        }
        self.state.update(|state| {
            let Some(all) = &state.namespaces else { return };
            let known = all.get(&found.name).cloned().unwrap_or_default();
            let namespace = Namespace {
                name: found.name.clone(),
                labels: found.labels.clone(),
                ..known
            };
            state.namespaces = Some(Arc::new(all.with(namespace)));
        });
    }
}

impl Lookups {
    /// Decides what to do for a request that asks for a namespace now.
    fn next(&mut self, namespace: &str, now: Instant) -> Next {
        self.by_namespace
            .retain(|_, running| is_current(running, now));
        if let Some(running) = self.by_namespace.get(namespace) {
            return Next::Wait(running.clone());
        }
        self.begun.retain(|at| now.duration_since(*at) < WINDOW);
        if self.begun.len() >= MAX_BEGUN {
            return Next::GiveUp;
        }
        self.begun.push(now);
        let (result, running) = watch::channel(None);
        self.by_namespace
            .insert(namespace.to_owned(), running.clone());
        Next::Begin(result, running)
    }
}

/// Returns whether a look-up is in flight, or has just ended.
fn is_current(running: &Running, now: Instant) -> bool {
    match &*running.borrow() {
        Some(ended) => now.duration_since(ended.at) < KEPT,
        // Without a sender there will be no result.
        None => running.has_changed().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(
        lookups: &mut Lookups,
        namespace: &str,
        now: Instant,
    ) -> Option<watch::Sender<Option<Ended>>> {
        match lookups.next(namespace, now) {
            Next::Begin(result, _) => Some(result),
            Next::Wait(_) | Next::GiveUp => None,
        }
    }

    #[test]
    fn ten_lookups_begin_in_any_second() {
        let mut lookups = Lookups::default();
        let start = Instant::now();
        let mut begun = Vec::new();
        let mut pending = Vec::new();
        for i in 0..300 {
            let now = start + Duration::from_millis(10 * i);
            if let Some(result) = begins(&mut lookups, &format!("n{i}"), now) {
                pending.push(result);
                begun.push(i);
            }
        }
        assert_eq!(begun.len(), 30);
        assert_eq!(begun[..11], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100]);
    }

    #[test]
    fn a_namespace_is_looked_up_once_at_a_time_and_a_no_is_kept_for_a_second() {
        let mut lookups = Lookups::default();
        let start = Instant::now();
        let result = begins(&mut lookups, "ci", start).unwrap();
        let later = start + Duration::from_secs(4);
        assert!(matches!(lookups.next("ci", later), Next::Wait(_)));
        let ended = Ended {
            at: later,
            found: None,
        };
        result.send_replace(Some(ended));
        let kept = later + Duration::from_millis(999);
        assert!(matches!(lookups.next("ci", kept), Next::Wait(_)));
        let over = later + KEPT;
        assert!(begins(&mut lookups, "ci", over).is_some());
        assert!(lookups.by_namespace.len() == 1, "old results are dropped");
    }

    #[test]
    fn a_lookup_that_broke_off_does_not_block_the_next() {
        let mut lookups = Lookups::default();
        let now = Instant::now();
        drop(begins(&mut lookups, "ci", now).unwrap());
        assert!(begins(&mut lookups, "ci", now).is_some());
    }
}
