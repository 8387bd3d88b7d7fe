//! One watch as a stream of changes that never ends: errors begin it anew, with a growing pause.

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

/// After this many seconds a watch is begun again.
const WATCH_SECONDS: u32 = 120;
/// An API server that says nothing for so long, in answer to a list or in a watch, is gone: a
/// connection may die in silence. The client that watches has to end calls by it.
pub const MAX_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 30);

/// What happened to the objects of a watch.
#[derive(Debug)]
pub(crate) enum Change<K, L = Vec<K>> {
    /// These are all there are: a list that is complete.
    All(L),
    /// This one is new, or different.
    Applied(K),
    /// This one is gone.
    Deleted(K),
}

/// The changes of a resource: first all, then one by one, and after each interruption all again. The
/// list is gathered in an `L`, page by page, so that one that keeps little of each object takes little.
///
/// `Metrics` are told whether the watch is connected. An error drops the watch and lists anew, also
/// where a watch could have gone on: only a list tells that the API server is back when nothing
/// changes.
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

/// The same, of the objects with this label.
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
    /// What the list under way has brought so far.
    listed: L,
    backoff: DefaultBackoff,
    watched: Watched,
    metrics: &'m Metrics,
    /// Whether the last thing heard was an error.
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
                    if let Some(change) = self.heard(event) {
                        return change;
                    }
                }
                Some(Err(error)) => self.lost(&error).await,
                // A watcher never ends by itself; if it did, it would be begun again all the same.
                None => self.events = (self.begin)(),
            }
        }
    }

    fn heard<K>(&mut self, event: watcher::Event<K>) -> Option<Change<K, L>>
    where
        L: Extend<K>,
    {
        // Parts of a list are no news yet: the list may still break off.
        if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
            self.metrics.watches.heard(self.watched);
            if std::mem::take(&mut self.failing) {
                // The pauses begin to be short again only after a while without errors: where lists
                // work and watches do not, each round costs the API server a whole list.
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
        // Once an outage is enough; the metric counts the rest.
        if !std::mem::replace(&mut self.failing, true) {
            warn!(
                resource = self.watched.into_str(),
                %error,
                "watch lost; what was known stays in force while it is begun again"
            );
        }
        self.listed = L::default();
        if let Some(pause) = self.backoff.next() {
            sleep(pause).await;
        }
        self.events = (self.begin)();
    }
}
