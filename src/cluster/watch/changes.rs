//! One watch as an endless stream of changes: after an error it starts again, with growing pauses.

use std::{fmt::Debug, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use kube::{
    Api, Resource,
    runtime::watcher::{self, Config, DefaultBackoff, watcher},
};
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::metrics::{Metrics, Watched};

/// The seconds after which a watch is renewed.
const WATCH_SECONDS: u32 = 120;
/// How long an API server may stay silent, in a list or in a watch, before it counts as gone: a connection can
/// break without notice. Clients for watches must use it as their read timeout.
pub const MAX_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 30);

/// A change of the objects of a watch.
#[derive(Debug)]
pub(crate) enum Change<K, L = Vec<K>> {
    /// A complete list.
    All(L),
    /// A new or changed object.
    Applied(K),
    /// A deleted object.
    Deleted(K),
}

/// Streams the changes of a resource: first a list of all objects, then single changes, and after each interruption
/// a list again. A list is collected into an `L` page by page, so an `L` that keeps little of each object needs
/// little memory.
///
/// `metrics` record whether the watch is connected. Every error leads to a new list, even where the watch could have
/// been resumed: if nothing changes, only a list shows that the API server is back.
pub(super) fn changes<K, L>(
    api: Api<K>,
    watched: Watched,
    metrics: &Metrics,
) -> impl Stream<Item = Change<K, L>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    L: Default + Extend<K> + Send,
{
    selected(api, Config::default(), watched, metrics)
}

/// Streams the changes of the objects with this label, as [`changes`] does.
pub(crate) fn changes_of_labelled<K>(
    api: Api<K>,
    label: &str,
    watched: Watched,
    metrics: &Metrics,
) -> impl Stream<Item = Change<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    selected(api, Config::default().labels(label), watched, metrics)
}

fn selected<K, L>(
    api: Api<K>,
    config: Config,
    watched: Watched,
    metrics: &Metrics,
) -> impl Stream<Item = Change<K, L>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    L: Default + Extend<K> + Send,
{
    let config = config.timeout(WATCH_SECONDS);
    let begin = move || watcher(api.clone(), config.clone()).boxed();
    let state = Watch {
        events: begin(),
        begin,
        listed: L::default(),
        backoff: DefaultBackoff::default(),
        watched,
        metrics,
        failing: false,
    };
    stream::unfold(state, |mut watch| async {
        let change = watch.next().await;
        Some((change, watch))
    })
}

struct Watch<'m, L, S, B> {
    events: S,
    begin: B,
    /// The objects of the list in progress.
    listed: L,
    backoff: DefaultBackoff,
    watched: Watched,
    metrics: &'m Metrics,
    /// Whether the last event was an error.
    failing: bool,
}

impl<L, S, B> Watch<'_, L, S, B>
where
    L: Default,
    B: Fn() -> S,
{
    async fn next<K>(&mut self) -> Change<K, L>
    where
        L: Extend<K>,
        S: Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Unpin,
    {
        loop {
            match self.events.next().await {
                Some(Ok(event)) => {
                    if let Some(change) = self.take(event) {
                        return change;
                    }
                }
                Some(Err(error)) => self.lost(&error).await,
                // A watcher does not end by itself; if it did, this would start it again.
                None => self.events = (self.begin)(),
            }
        }
    }

    fn take<K>(&mut self, event: watcher::Event<K>) -> Option<Change<K, L>>
    where
        L: Extend<K>,
    {
        // Part of a list proves nothing yet: the list may still fail.
        if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
            self.metrics.watches.heard(self.watched);
            if std::mem::take(&mut self.failing) {
                // The backoff is not reset here but after a time without errors: where lists work and watches fail,
                // each round costs the API server a whole list.
                info!(resource = self.watched.into_str(), "listed again");
            }
        }
        match event {
            watcher::Event::Init => self.listed = L::default(),
            watcher::Event::InitApply(object) => self.listed.extend([object]),
            watcher::Event::InitDone => {
                debug!(resource = self.watched.into_str(), "listed");
                return Some(Change::All(std::mem::take(&mut self.listed)));
            }
            watcher::Event::Apply(object) => return Some(Change::Applied(object)),
            watcher::Event::Delete(object) => return Some(Change::Deleted(object)),
        }
        None
    }

    async fn lost(&mut self, error: &watcher::Error) {
        self.metrics.watches.lost(self.watched);
        // One line per outage; the metric counts the errors.
        if !std::mem::replace(&mut self.failing, true) {
            warn!(
                resource = self.watched.into_str(),
                %error,
                "watch lost; the last known state stays in use until it is back"
            );
        }
        self.listed = L::default();
        if let Some(pause) = self.backoff.next() {
            sleep(pause).await;
        }
        self.events = (self.begin)();
    }
}
