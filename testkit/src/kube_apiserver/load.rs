//! A load: a few clients that create pods without pause.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::Value;
use tokio::task::JoinHandle;

use super::{Api, PATIENCE, Reply, eventually};

const CLIENTS: usize = 3;

/// The result of one attempt to create a pod; an error if the API server could not be reached.
pub type Attempt = Result<Reply, String>;

/// A load that runs until it is ended.
pub struct Load {
    ends: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Attempt>>>,
}

impl Load {
    /// Starts to post pods to `path`.
    pub fn start(api: &Api, path: &str, pod: &Value) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let client = |_| {
            let (api, path, pod) = (api.clone(), path.to_owned(), pod.clone());
            let (ends, done) = (Arc::clone(&ends), Arc::clone(&done));
            tokio::spawn(async move {
                let mut attempts = Vec::new();
                while !ends.load(Ordering::SeqCst) {
                    let create = api.send("POST", &path, Some(&pod));
                    let attempt = tokio::time::timeout(PATIENCE, create).await;
                    let attempt = attempt.expect("a pod's creation hangs");
                    attempts.push(attempt.map_err(|error| error.to_string()));
                    done.fetch_add(1, Ordering::SeqCst);
                }
                attempts
            })
        };
        Self {
            clients: (0..CLIENTS).map(client).collect(),
            ends,
            done,
        }
    }

    /// Waits until enough further pods were tried to be meaningful.
    pub async fn go_on(&self) {
        const MORE: usize = 30;
        let goal = self.done.load(Ordering::SeqCst) + MORE;
        eventually("the load to go on", async || {
            let died = self.clients.iter().any(JoinHandle::is_finished);
            assert!(!died, "a client of the load has failed");
            (self.done.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    /// Ends the load. Returns all attempts.
    pub async fn end(self) -> Vec<Attempt> {
        self.ends.store(true, Ordering::SeqCst);
        let mut attempts = Vec::new();
        for client in self.clients {
            attempts.extend(client.await.unwrap());
        }
        attempts
    }
}
