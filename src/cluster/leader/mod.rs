//! Leader election among replicas, by a Lease of `coordination.k8s.io/v1`, as client-go does it.
//!
//! The holder renews its Lease every two seconds, and gives up when it could not for ten. The
//! others take the Lease when they saw no renewal for fifteen seconds of *their own* clock, so the
//! replicas' clocks may differ. Between ten and fifteen nobody leads; never do two. That holds
//! while clocks run about equally fast and no process is frozen for seconds: what leaders write
//! must be safe without it, by versions that are compared.

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

pub use candidate::{Candidate, LeaseError};

/// A clock that never goes back. Tests bring their own.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// A Lease that nobody renewed for so long is free.
    pub lease: Duration,
    /// A holder who could not renew for so long no longer leads; shorter than `lease`.
    pub renew_deadline: Duration,
    /// How often the Lease is renewed, and at least how long others wait between looks at it.
    pub retry: Duration,
}

impl Default for Timings {
    /// Those of Kubernetes' own components.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Whether this replica leads, at any moment. Clones say the same.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<bool>);

impl Leadership {
    /// Whether it leads now.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it does not lead: what the leader does stops then.
    pub async fn lost(&mut self) {
        self.wait_for(false).await;
    }

    /// Waits until whether it leads is no longer so.
    pub async fn changed_from(&mut self, leads: bool) {
        self.wait_for(!leads).await;
    }

    async fn wait_for(&mut self, leads: bool) {
        if self.0.wait_for(|now| *now == leads).await.is_err() {
            // The election is over: it does not lead, and never will.
            if leads {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// One replica's way to lead.
#[derive(Debug)]
pub struct Election {
    candidate: Candidate,
    leads: watch::Sender<bool>,
    failing: bool,
}

impl Election {
    /// Prepares to compete for the Lease of this name. `identity` must be this replica's alone:
    /// the name of its pod.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self::of(Candidate::new(client, namespace, name, identity))
    }

    /// The same with a candidate of one's own making.
    #[must_use]
    pub fn of(candidate: Candidate) -> Self {
        Self {
            candidate,
            leads: watch::Sender::new(false),
            failing: false,
        }
    }

    /// Tells whether this replica leads.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership(self.leads.subscribe())
    }

    /// Competes until `shutdown`, then gives the Lease back, so that another replica can lead at
    /// once. When this is dropped earlier, it no longer leads, but the Lease has to run out.
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
        // First: what the leader does stops before another one can begin.
        self.leads.send_replace(false);
        match self.candidate.release().await {
            Ok(true) => info!(lease = self.candidate.name(), "gave the lease back"),
            Ok(false) => {}
            Err(error) => warn!(%error, "failed to give the lease back; it will run out"),
        }
    }

    /// One look at the Lease; says how long to wait until the next.
    pub async fn tick(&mut self) -> Duration {
        let result = self.candidate.tick().await;
        let leads = self.candidate.leads();
        self.report(result.err());
        if self.leads.send_replace(leads) != leads {
            info!(leads, lease = self.candidate.name(), "leadership changed");
        }
        self.candidate.pause(jitter())
    }

    /// A line when it begins to fail and when that is over, not one every two seconds.
    fn report(&mut self, error: Option<LeaseError>) {
        match error {
            Some(error) if !self.failing => {
                self.failing = true;
                warn!(%error, "failed to take or renew the lease; trying on");
            }
            Some(error) => debug!(%error, "still no lease"),
            None if self.failing => {
                self.failing = false;
                info!("the lease can be reached again");
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

/// A random part of one, so that replicas do not move in step.
fn jitter() -> f64 {
    let mut byte = [0_u8; 1];
    // Without randomness there is just no jitter.
    let _ = aws_lc_rs::default_provider().secure_random.fill(&mut byte);
    f64::from(u8::from_ne_bytes(byte)) / 256.0
}
