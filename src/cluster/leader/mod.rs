//! Leader election among the replicas through a `coordination.k8s.io/v1` Lease, by the rules of
//! client-go.
//!
//! The leader renews the Lease every two seconds, and stops leading when it could not renew for ten. A
//! follower takes over after it has seen no renewal for fifteen seconds on *its own* clock, so the
//! clocks of the replicas may differ. Between ten and fifteen seconds there is no leader; there are
//! never two, as long as clocks run at about the same speed and no process is frozen for seconds.
//! Leaders do not rely on that: their writes compare versions.

mod candidate;

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::Client;
use rustls::crypto::aws_lc_rs;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::call::CallError;

pub use candidate::Candidate;

/// A monotonic clock. Tests use their own.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The timings of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How long a Lease lasts after its last renewal.
    pub lease: Duration,
    /// How long a leader leads after its last renewal; shorter than `lease`.
    pub renew_deadline: Duration,
    /// How often the leader renews the Lease, and the least time between two reads by a follower.
    pub retry: Duration,
}

impl Default for Timings {
    /// Returns the timings of Kubernetes' own components.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// A handle that tells whether this replica leads. All clones agree.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<bool>);

impl Leadership {
    /// Returns whether this replica leads now.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until this replica does not lead: the leader's work must stop then.
    pub async fn lost(&mut self) {
        self.wait_for(false).await;
    }

    /// Waits until leadership changes. `leads` is what the caller last saw.
    pub async fn changed_from(&mut self, leads: bool) {
        self.wait_for(!leads).await;
    }

    async fn wait_for(&mut self, leads: bool) {
        if self.0.wait_for(|now| *now == leads).await.is_err() {
            // The election is over: this replica does not lead, and never will again.
            if leads {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// One replica's part in the leader election.
#[derive(Debug)]
pub struct Election {
    candidate: Candidate,
    leads: watch::Sender<bool>,
    /// Whether the last tick failed.
    failing: bool,
}

impl Election {
    /// Prepares to compete for the Lease `name`. `identity` must be unique to this replica: use the
    /// name of its pod.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self::of(Candidate::new(client, namespace, name, identity))
    }

    /// Prepares an election with this candidate.
    #[must_use]
    pub fn of(candidate: Candidate) -> Self {
        Self {
            candidate,
            leads: watch::Sender::new(false),
            failing: false,
        }
    }

    /// Returns a handle that tells whether this replica leads.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership(self.leads.subscribe())
    }

    /// Competes until `shutdown`, then releases the Lease so that another replica can lead at once.
    /// If this is dropped earlier, the replica stops leading, but the Lease has to expire.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            let turn = async {
                let pause = self.tick().await;
                tokio::time::sleep(pause).await;
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = turn => {}
            }
        }
        // This comes first: the leader's work stops before another replica can take over.
        self.leads.send_replace(false);
        match self.candidate.release().await {
            Ok(true) => info!(lease = self.candidate.name(), "released the Lease"),
            Ok(false) => {}
            Err(error) => warn!(%error, "failed to release the Lease; it will expire"),
        }
    }

    /// Reads the Lease once, and acquires or renews it if possible. Returns how long to wait before
    /// the next tick.
    pub async fn tick(&mut self) -> Duration {
        let result = self.candidate.tick().await;
        let leads = self.candidate.leads();
        self.report(result.err());
        if self.leads.send_replace(leads) != leads {
            info!(leads, lease = self.candidate.name(), "leadership changed");
        }
        self.candidate.pause(jitter())
    }

    /// Logs when ticks begin to fail and when they succeed again, not every failure.
    fn report(&mut self, error: Option<CallError>) {
        match error {
            Some(error) if !self.failing => {
                self.failing = true;
                warn!(%error, "failed to acquire or renew the Lease; trying again");
            }
            Some(error) => debug!(%error, "still failing to acquire or renew the Lease"),
            None if self.failing => {
                self.failing = false;
                info!("the Lease is reachable again");
            }
            None => {}
        }
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.leads.send_replace(false);
    }
}

/// Returns a random number from 0 to 1, so that replicas do not act in lockstep.
fn jitter() -> f64 {
    let mut byte = [0_u8; 1];
    // If this fails, there is simply no jitter.
    let _ = aws_lc_rs::default_provider().secure_random.fill(&mut byte);
    f64::from(u8::from_ne_bytes(byte)) / 256.0
}
