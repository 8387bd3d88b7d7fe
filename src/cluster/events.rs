//! Kubernetes Events: why a runner pod was left alone, where its owner looks.
//!
//! An Event is about the pod's controller, which has a uid already; a pod that is being admitted has
//! none. It appears in the pod's namespace, once in a while however many pods are left alone.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use slipway_core::admission::LeftAlone;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::metrics::{EventOutcome, Metrics};

/// One Event for a namespace and reason in this time.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// So many namespaces and reasons are remembered; beyond that nothing new is told for a while.
const MAX_REMEMBERED: usize = 4096;
/// Waiting Events beyond this are dropped: requests never wait for Events.
const QUEUE: usize = 64;
/// The API server's limit on `note`, in bytes.
const MAX_NOTE: usize = 1024;

/// Where the server puts pods that were left alone.
#[derive(Debug, Clone)]
pub struct Sink {
    queue: mpsc::Sender<LeftAlone>,
    metrics: Arc<Metrics>,
}

impl Sink {
    /// A sink, and its other end for [`publish`].
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> (Self, mpsc::Receiver<LeftAlone>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        (Self { queue, metrics }, waiting)
    }

    /// Takes one, or drops it when too many wait. Never waits itself.
    pub fn put(&self, left: LeftAlone) {
        if self.queue.try_send(left).is_err() {
            self.metrics.cluster.count_event(EventOutcome::Dropped);
        }
    }
}

/// Publishes what comes, until the sink is gone. `instance` is the name of our own pod.
pub async fn publish(
    client: Client,
    instance: Option<String>,
    mut waiting: mpsc::Receiver<LeftAlone>,
    metrics: &Metrics,
) {
    let reporter = Reporter {
        controller: "slipway.io/admission".to_owned(),
        instance,
    };
    let recorder = Recorder::new(client, reporter);
    let mut limiter = Limiter::default();
    let mut failing = false;
    while let Some(left) = waiting.recv().await {
        if !limiter.admits(&left, Instant::now()) {
            metrics.cluster.count_event(EventOutcome::Suppressed);
            continue;
        }
        match recorder.publish(&event(&left), &regarding(&left)).await {
            Ok(()) => {
                metrics.cluster.count_event(EventOutcome::Published);
                limiter.told(&left, Instant::now());
                failing = false;
            }
            Err(error) => {
                metrics.cluster.count_event(EventOutcome::Failed);
                // Once an outage is enough.
                if std::mem::replace(&mut failing, true) {
                    debug!(%error, "failed to publish an Event");
                } else {
                    warn!(%error, "failed to publish an Event");
                }
            }
        }
    }
}

fn event(left: &LeftAlone) -> Event {
    let mut note = format!("Slipway left pod {} alone: {}", left.pod, left.why);
    while note.len() > MAX_NOTE {
        note.pop();
    }
    Event {
        type_: EventType::Warning,
        reason: pascal_case(left.reason),
        note: Some(note),
        action: "Admitting".to_owned(),
        secondary: None,
    }
}

/// The controller of the pod, or its namespace.
fn regarding(left: &LeftAlone) -> ObjectReference {
    let namespace = Some(left.namespace.clone());
    match &left.owner {
        Some(owner) => ObjectReference {
            api_version: Some(owner.api_version.clone()),
            kind: Some(owner.kind.clone()),
            name: Some(owner.name.clone()),
            uid: Some(owner.uid.clone()),
            namespace,
            ..ObjectReference::default()
        },
        None => ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Namespace".to_owned()),
            name: namespace.clone(),
            // An Event lives in the namespace that this names, and there it is looked for.
            namespace,
            ..ObjectReference::default()
        },
    }
}

/// `profile-unknown` as Events spell it: `ProfileUnknown`.
fn pascal_case(code: &str) -> String {
    code.split('-')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
        })
        .collect()
}

/// When what was last told.
#[derive(Debug, Default)]
struct Limiter(HashMap<(String, &'static str), Instant>);

impl Limiter {
    /// Whether it may be told now.
    fn admits(&mut self, left: &LeftAlone, now: Instant) -> bool {
        let recent = |told: &Instant| now.duration_since(*told) < EVERY;
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, told| recent(told));
        }
        match self.0.get(&key(left)) {
            Some(told) => !recent(told),
            None => self.0.len() < MAX_REMEMBERED,
        }
    }

    /// It was told.
    fn told(&mut self, left: &LeftAlone, now: Instant) {
        self.0.insert(key(left), now);
    }
}

fn key(left: &LeftAlone) -> (String, &'static str) {
    (left.namespace.clone(), left.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(namespace: &str, reason: &'static str) -> LeftAlone {
        LeftAlone {
            namespace: namespace.to_owned(),
            pod: "runner-*".to_owned(),
            reason,
            why: "x".repeat(5000),
            owner: None,
        }
    }

    /// Tells it, if it may be told.
    fn tell(limiter: &mut Limiter, left: &LeftAlone, now: Instant) -> bool {
        let admitted = limiter.admits(left, now);
        if admitted {
            limiter.told(left, now);
        }
        admitted
    }

    #[test]
    fn what_was_not_told_may_be_told_again() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        assert!(limiter.admits(&left("ci", "profile-unknown"), now));
        assert!(limiter.admits(&left("ci", "profile-unknown"), now));
    }

    #[test]
    fn a_namespace_is_told_of_a_reason_once_in_a_while() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        assert!(tell(&mut limiter, &left("ci", "profile-unknown"), now));
        assert!(!tell(&mut limiter, &left("ci", "profile-unknown"), now));
        assert!(tell(&mut limiter, &left("ci", "pod-ask-refused"), now));
        assert!(tell(&mut limiter, &left("ci-2", "profile-unknown"), now));
        assert!(tell(
            &mut limiter,
            &left("ci", "profile-unknown"),
            now + EVERY
        ));
    }

    #[test]
    fn memory_of_namespaces_is_bounded() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        for i in 0..MAX_REMEMBERED {
            assert!(tell(&mut limiter, &left(&i.to_string(), "a"), now));
        }
        assert!(!tell(&mut limiter, &left("one more", "a"), now));
        assert!(tell(&mut limiter, &left("one more", "a"), now + EVERY));
        assert_eq!(limiter.0.len(), 1);
    }

    #[test]
    fn an_event_has_the_form_that_the_api_server_asks_for() {
        let event = event(&left("ci", "profile-not-selectable"));
        assert_eq!(event.reason, "ProfileNotSelectable");
        assert_eq!(event.note.unwrap().len(), MAX_NOTE);
        let about = regarding(&left("ci", "profile-unknown"));
        assert_eq!(about.kind.as_deref(), Some("Namespace"));
        assert_eq!(about.namespace.as_deref(), Some("ci"));
    }
}
