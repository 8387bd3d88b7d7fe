//! Kubernetes Events that tell the owner of a runner pod why it was left alone.
//!
//! An Event is about the pod's controller, or about its namespace if it has none: a pod that is being
//! admitted has no uid that an Event could refer to. For each namespace and reason, only one Event is
//! written in a while, however many pods are left alone.

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

/// The least time between two Events with the same namespace and reason.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// How many pairs of namespace and reason are remembered. When the memory is full, new pairs get no
/// Events until old ones have expired.
const MAX_REMEMBERED: usize = 4096;
/// The length of the queue. Further Events are dropped: requests never wait for Events.
const QUEUE: usize = 64;
/// The API server's limit on the length of `note`, in bytes.
const MAX_NOTE: usize = 1024;

/// The sending end of the queue of pods that were left alone.
#[derive(Debug, Clone)]
pub struct Sink {
    queue: mpsc::Sender<LeftAlone>,
    metrics: Arc<Metrics>,
}

impl Sink {
    /// Creates a queue, whose receiving end is for [`publish`].
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> (Self, mpsc::Receiver<LeftAlone>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        (Self { queue, metrics }, waiting)
    }

    /// Queues a pod, or drops it if the queue is full. Never waits.
    pub fn put(&self, left: LeftAlone) {
        if self.queue.try_send(left).is_err() {
            self.metrics.cluster.count_event(EventOutcome::Dropped);
        }
    }
}

/// Publishes an Event for each queued pod, until the sink is dropped. `instance` is the name of this
/// replica's own pod.
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
                limiter.note(&left, Instant::now());
                failing = false;
            }
            Err(error) => {
                metrics.cluster.count_event(EventOutcome::Failed);
                // One warning per outage is enough.
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

/// Returns the object that the Event is about: the pod's controller, or its namespace.
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
            // The Event is created in this namespace, where the owner looks for it.
            namespace,
            ..ObjectReference::default()
        },
    }
}

/// Converts a reason code to the spelling of Events: `profile-unknown` to `ProfileUnknown`.
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

/// The time of the last Event for each namespace and reason.
#[derive(Debug, Default)]
struct Limiter(HashMap<(String, &'static str), Instant>);

impl Limiter {
    /// Returns whether an Event may be written now.
    fn admits(&mut self, left: &LeftAlone, now: Instant) -> bool {
        let is_recent = |written: &Instant| now.duration_since(*written) < EVERY;
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, written| is_recent(written));
        }
        match self.0.get(&key(left)) {
            Some(written) => !is_recent(written),
            None => self.0.len() < MAX_REMEMBERED,
        }
    }

    /// Notes that an Event was written.
    fn note(&mut self, left: &LeftAlone, now: Instant) {
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

    /// Notes an Event, if it may be written.
    fn write(limiter: &mut Limiter, left: &LeftAlone, now: Instant) -> bool {
        let admitted = limiter.admits(left, now);
        if admitted {
            limiter.note(left, now);
        }
        admitted
    }

    #[test]
    fn an_event_that_was_not_written_does_not_count() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        assert!(limiter.admits(&left("ci", "profile-unknown"), now));
        assert!(limiter.admits(&left("ci", "profile-unknown"), now));
    }

    #[test]
    fn each_namespace_gets_one_event_per_reason_in_five_minutes() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        assert!(write(&mut limiter, &left("ci", "profile-unknown"), now));
        assert!(!write(&mut limiter, &left("ci", "profile-unknown"), now));
        assert!(write(&mut limiter, &left("ci", "pod-ask-refused"), now));
        assert!(write(&mut limiter, &left("ci-2", "profile-unknown"), now));
        assert!(write(
            &mut limiter,
            &left("ci", "profile-unknown"),
            now + EVERY
        ));
    }

    #[test]
    fn the_number_of_remembered_namespaces_is_bounded() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        for i in 0..MAX_REMEMBERED {
            assert!(write(&mut limiter, &left(&i.to_string(), "a"), now));
        }
        assert!(!write(&mut limiter, &left("one more", "a"), now));
        assert!(write(&mut limiter, &left("one more", "a"), now + EVERY));
        assert_eq!(limiter.0.len(), 1);
    }

    #[test]
    fn an_event_has_the_form_that_the_api_server_requires() {
        let event = event(&left("ci", "profile-not-selectable"));
        assert_eq!(event.reason, "ProfileNotSelectable");
        assert_eq!(event.note.unwrap().len(), MAX_NOTE);
        let about = regarding(&left("ci", "profile-unknown"));
        assert_eq!(about.kind.as_deref(), Some("Namespace"));
        assert_eq!(about.namespace.as_deref(), Some("ci"));
    }
}
