//! A Kubernetes API server in memory, on a loopback port, for tests.
//!
//! Any kind of resource works, by its path: there are no schemas, no admission and no
//! authorisation. The parts that controllers depend on are real: uid, resourceVersion, optimistic
//! concurrency, preconditions, finalizers, watches with history, bookmarks and 410 Gone, paged
//! lists, selectors, field managers. Writes that change nothing create no new version, as in the
//! real one. Faults are scripted with [`ApiServer::when`].
//!
//! ```ignore
//! let server = ApiServer::start();
//! let client = server.client("replica-a");
//! server.when(Verb::Update, "/api/v1/namespaces/a/secrets/").times(2).answer(409);
//! let gate = server.when(Verb::Create, "/apis/coordination.k8s.io").hold();
//! ```

mod answer;
mod connections;
mod faults;
mod object;
mod patch;
mod path;
mod problem;
mod selector;
mod store;
mod verbs;
mod watching;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::Value;
use tokio::sync::watch;

pub use faults::When;
pub use path::Verb;
pub use store::Store;

use connections::Listener;
use faults::Faults;
use path::Route;

/// A call, in the order of arrival.
#[derive(Debug, Clone)]
pub struct Call {
    /// The caller: the name given to [`ApiServer::client`].
    pub user: String,
    /// The verb.
    pub verb: Verb,
    /// The path, without the query.
    pub path: String,
    /// The query, undecoded.
    pub query: String,
    /// The body, if it was JSON.
    pub body: Value,
    /// The field manager of a write.
    pub field_manager: Option<String>,
    /// The status of the answer; 0 before it, and if the connection was closed instead.
    pub status: u16,
}

/// Signals, each a counter that tasks wait for.
#[derive(Debug)]
struct Signals {
    /// The store changed.
    changed: watch::Sender<u64>,
    /// A call arrived or was answered.
    called: watch::Sender<u64>,
    /// Watches should send a bookmark.
    bookmark: watch::Sender<u64>,
    /// Watches should break off.
    cut: watch::Sender<u64>,
}

#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
    calls: Mutex<Vec<Call>>,
    faults: Mutex<Faults>,
    listener: Mutex<Option<Listener>>,
    signals: Signals,
    address: SocketAddr,
}

/// The server; clones share it. It stops with the runtime.
#[derive(Debug, Clone)]
pub struct ApiServer(Arc<Shared>);

impl ApiServer {
    /// Starts the server on a free loopback port. It needs a runtime.
    pub fn start() -> Self {
        let listener = connections::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
        let signal = || watch::Sender::new(0);
        let server = Self(Arc::new(Shared {
            store: Mutex::default(),
            calls: Mutex::default(),
            faults: Mutex::default(),
            listener: Mutex::default(),
            signals: Signals {
                changed: signal(),
                called: signal(),
                bookmark: signal(),
                cut: signal(),
            },
            address: listener.local_addr().unwrap(),
        }));
        server.accept_on(listener);
        server
    }

    /// Returns a client whose calls are logged and matched as `user`'s. It does not retry, so each call
    /// arrives once.
    pub fn client(&self, user: &str) -> kube::Client {
        let url = format!("http://{}", self.0.address);
        let mut config = kube::Config::new(url.parse().unwrap());
        config.auth_info.token = Some(user.to_owned().into());
        config.default_retry = false;
        kube::Client::try_from(config).unwrap()
    }

    /// Returns the address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Returns the store, for a test to inspect, or to change as another writer would.
    pub fn store<T>(&self, act: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = locked(&self.0.store);
        let before = store.revision();
        let result = act(&mut store);
        let changed = store.revision() != before;
        drop(store);
        if changed {
            self.0.signals.changed.send_modify(|count| *count += 1);
        }
        result
    }

    /// Returns the object at an API path, `/api/v1/namespaces/a/secrets/b`.
    pub fn object(&self, path: &str) -> Option<Value> {
        let key = Route::parse(path).unwrap().key();
        self.store(|store| store.get(&key).cloned())
    }

    /// Creates or replaces the object at an API path, whatever its version.
    pub fn set(&self, path: &str, object: Value) -> Value {
        let key = Route::parse(path).unwrap().key();
        self.store(|store| store.set(&key, object)).unwrap()
    }

    /// Changes the object at an API path.
    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut object = self.object(path).expect("there is nothing to edit");
        change(&mut object);
        self.set(path, object)
    }

    /// Removes the object at an API path, if it exists.
    pub fn remove(&self, path: &str) {
        let key = Route::parse(path).unwrap().key();
        self.store(|store| store.remove(&key));
    }

    /// Drops the history: watches and paged lists that start before now get 410 Gone.
    pub fn compact(&self) {
        self.store(Store::compact);
    }

    /// Sends a bookmark on each open watch that allows them.
    pub fn send_bookmarks(&self) {
        self.0.signals.bookmark.send_modify(|count| *count += 1);
    }

    /// Breaks off every open watch, as a network would.
    pub fn cut_watches(&self) {
        self.0.signals.cut.send_modify(|count| *count += 1);
    }

    /// Scripts what happens to the next call with this verb and path prefix.
    pub fn when(&self, verb: Verb, path_prefix: &str) -> When {
        When::new(self.clone(), verb, path_prefix)
    }

    /// Removes all rules. Calls that are held continue.
    pub fn clear_faults(&self) {
        locked(&self.0.faults).clear();
    }

    /// Returns all calls so far.
    pub fn calls(&self) -> Vec<Call> {
        locked(&self.0.calls).clone()
    }

    /// Clears the log of calls.
    pub fn clear_calls(&self) {
        locked(&self.0.calls).clear();
    }

    /// Waits until the store is as wanted.
    pub async fn until(&self, mut wanted: impl FnMut(&Store) -> bool) {
        let mut changed = self.0.signals.changed.subscribe();
        while !self.store(|store| wanted(store)) {
            changed.changed().await.unwrap();
        }
    }

    /// Waits until such a call has arrived, answered or not.
    pub async fn until_called(&self, mut wanted: impl FnMut(&Call) -> bool) -> Call {
        let mut called = self.0.signals.called.subscribe();
        loop {
            if let Some(call) = self.calls().into_iter().find(|call| wanted(call)) {
                return call;
            }
            called.changed().await.unwrap();
        }
    }
}

/// A test that panicked while it held the lock fails by itself.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
