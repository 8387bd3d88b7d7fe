//! A model of a cluster with a cache pool: admissions, pods, watches that lag behind, leaders that crash
//! or lead at the same time, and clocks that differ.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use slipway_core::{
    cache::claims::{
        Claim, ClaimPoolKey, Claims, Lease,
        choose::rank,
        claim::Annotations,
        expire::{APPEARANCE_TIMEOUT, Holder, PodLease, Sightings, Suspect, is_over},
        upkeep::{UpkeepAction, plan_upkeep},
    },
    policy::ClaimPool,
};

/// The API server's `--request-timeout`, in seconds.
const REQUEST_TIMEOUT: u64 = 60;
const NAMESPACE: &str = "ci";
const PROFILE: &str = "fast";
/// Where all requests come from.
const API_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The cache keys of the pods.
pub const KEYS: [&str; 2] = ["a", "b"];
/// The speed of each leader's clock, in percent.
const CLOCK_RATES: [u64; 2] = [115, 90];

/// A claim in the database.
#[derive(Debug, Clone)]
pub struct Stored {
    uid: u64,
    version: u64,
    annotations: Value,
    created: Timestamp,
}

impl Stored {
    fn claim(&self, name: &str) -> Claim {
        let annotations: BTreeMap<String, String> =
            serde_json::from_value(self.annotations.clone()).unwrap();
        Claim {
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
            uid: self.uid.to_string(),
            version: self.version.to_string(),
            profile: PROFILE.to_owned(),
            terminating: false,
            volume: None,
            size: None,
            created: Some(self.created),
            annotations: Annotations::read(&annotations),
        }
    }
}

/// A pod that has been admitted.
#[derive(Debug, Clone)]
pub struct Pod {
    lease: String,
    claim: String,
    stage: Stage,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Admitted but not stored; it may be stored until this time.
    InFlight(u64),
    Live,
    Ended,
}

/// A replica that believes that it leads.
#[derive(Debug, Default)]
pub struct Leader {
    sightings: Sightings,
    claims: Claims,
    /// The leases of the pods that its watch shows: of all pods, and of the live ones.
    seen: HashSet<PodLease>,
    live: HashSet<PodLease>,
    /// What it has decided but not written yet: patches, and deletions.
    pub releases: Vec<(String, Value)>,
    deletions: Vec<Arc<Claim>>,
    /// The start and the speed of its clock.
    offset: u64,
    rate: u64,
}

/// The whole cluster.
#[derive(Debug)]
pub struct World {
    now: u64,
    next: u64,
    pub claims: BTreeMap<String, Stored>,
    pub pods: Vec<Pod>,
    /// The claims that each replica knows.
    replicas: [Claims; 2],
    pub leaders: [Leader; 2],
    pool: ClaimPool,
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub enum Act {
    /// A replica admits a pod, by the claims that it knows.
    Admit { replica: usize, key: usize },
    /// A replica's watch catches up, and it admits a pod.
    AdmitKnowing { replica: usize, key: usize },
    /// A replica's watch catches up.
    Sync { replica: usize },
    /// An admitted pod is stored.
    Arrive { pod: usize },
    /// An admitted pod is never stored.
    Lose { pod: usize },
    /// A pod ends; its object stays.
    End { pod: usize },
    /// A pod is deleted.
    Delete { pod: usize },
    /// A leader's watch of claims catches up.
    SyncClaims { leader: usize },
    /// A leader's watch of pods catches up.
    SyncPods { leader: usize },
    /// A leader makes a complete pass without interruption. Its watch of pods lags unless `pods`.
    Pass { leader: usize, pods: bool },
    /// A leader lists pods, and decides which leases are over.
    Check { leader: usize },
    /// A leader writes what it has decided, perhaps much later.
    Write { leader: usize },
    /// A leader decides which claims to delete, and creates claims.
    Upkeep { leader: usize },
    /// A leader crashes and forgets everything. What it has sent may still arrive.
    Crash { leader: usize, offset: u64 },
    /// Time passes.
    Wait { seconds: u64 },
}

impl World {
    /// Creates a cluster without claims.
    pub fn new(strict: bool) -> Self {
        let leader = |rate| Leader {
            rate,
            ..Leader::default()
        };
        Self {
            now: 1_000_000,
            next: 0,
            claims: BTreeMap::new(),
            pods: Vec::new(),
            replicas: Default::default(),
            leaders: CLOCK_RATES.map(leader),
            pool: ClaimPool {
                claims: 3,
                min_free: 2,
                strict_keys: strict,
                expire_after_hours: Some(1),
                ..ClaimPool::default()
            },
        }
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Returns the claims in the database.
    pub fn truth(&self) -> Claims {
        Claims::new(self.claims.iter().map(|(name, stored)| stored.claim(name)))
    }

    /// Returns the time on a replica's wall clock, which is hours off.
    fn wall(&self, replica: usize) -> Timestamp {
        let now = Timestamp::from_second(i64::try_from(self.now).unwrap()).unwrap();
        let hours = if replica == 0 { 5 } else { -7 };
        now + SignedDuration::from_hours(hours)
    }

    /// Applies a merge patch, if the claim has the version that it names. Returns whether it did.
    fn patch(&mut self, name: &str, patch: &Value) -> bool {
        let version = self.next_number();
        let Some(stored) = self.claims.get_mut(name) else {
            return false;
        };
        let metadata = &patch["metadata"];
        if metadata["resourceVersion"] != json!(stored.version.to_string())
            || metadata["uid"] != json!(stored.uid.to_string())
        {
            return false;
        }
        json_patch::merge(&mut stored.annotations, &metadata["annotations"]);
        stored.version = version;
        true
    }

    fn admit(&mut self, replica: usize, key: &str) {
        let lease = format!("r{}", self.next_number());
        let known = &self.replicas[replica];
        let candidates = rank(known.of_pool(&pool_key()), key, self.pool.strict_keys, None);
        for claim in candidates {
            let wanted = Lease {
                id: lease.clone(),
                pod: String::new(),
            };
            let patch = claim.lease_patch(&wanted, key, API_SERVER, self.wall(replica));
            if self.patch(&claim.name, &patch) {
                self.pods.push(Pod {
                    lease,
                    claim: claim.name.clone(),
                    stage: Stage::InFlight(self.now + REQUEST_TIMEOUT),
                });
                return;
            }
        }
    }

    fn check(&mut self, leader: usize) {
        let wall = self.wall(leader);
        let listed: Vec<Holder> = self.live_pods().map(holder).collect();
        let now = self.now;
        let leader = &mut self.leaders[leader];
        let clock = Duration::from_secs(leader.offset + now * leader.rate / 100);
        let suspects = leader.sightings.suspects(
            &leader.claims,
            &leader.seen,
            &leader.live,
            clock,
            APPEARANCE_TIMEOUT,
        );
        for Suspect { claim, used } in suspects {
            if is_over(&claim, &listed) {
                let patch = claim.release_patch(used, wall);
                leader.releases.push((claim.name.clone(), patch));
            }
        }
    }

    fn write(&mut self, leader: usize) {
        for (name, patch) in std::mem::take(&mut self.leaders[leader].releases) {
            self.patch(&name, &patch);
        }
        for claim in std::mem::take(&mut self.leaders[leader].deletions) {
            let same = |stored: &Stored| {
                stored.version.to_string() == claim.version && stored.uid.to_string() == claim.uid
            };
            if self.claims.get(&claim.name).is_some_and(same) {
                self.claims.remove(&claim.name);
            }
        }
    }

    fn upkeep(&mut self, leader: usize) {
        let now = self.wall(leader);
        let known: Vec<Arc<Claim>> = self.leaders[leader]
            .claims
            .of_pool(&pool_key())
            .cloned()
            .collect();
        for step in plan_upkeep(PROFILE, Some(&self.pool), &known, &BTreeSet::new(), now) {
            match step {
                UpkeepAction::Delete(claim) => self.leaders[leader].deletions.push(claim),
                UpkeepAction::Create(name) if !self.claims.contains_key(&name) => {
                    let (uid, version) = (self.next_number(), self.next_number());
                    let stored = Stored {
                        uid,
                        version,
                        annotations: json!({}),
                        created: now,
                    };
                    self.claims.insert(name, stored);
                }
                UpkeepAction::Create(_) => {}
            }
        }
    }

    fn sync_pods(&mut self, leader: usize) {
        let lease = |pod: &Pod| PodLease {
            namespace: NAMESPACE.to_owned(),
            claim: pod.claim.clone(),
            lease: pod.lease.clone(),
        };
        let live: HashSet<PodLease> = self.live_pods().map(lease).collect();
        let ended = self.pods.iter().filter(|pod| pod.stage == Stage::Ended);
        let ended: HashSet<PodLease> = ended.map(lease).collect();
        self.leaders[leader].seen = live.union(&ended).cloned().collect();
        self.leaders[leader].live = live;
    }

    fn live_pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| pod.stage == Stage::Live)
    }

    /// Returns a pod by any index, if there are pods.
    fn pod(&mut self, index: usize) -> Option<&mut Pod> {
        let count = self.pods.len();
        (count > 0).then(|| &mut self.pods[index % count])
    }

    /// Makes one thing happen.
    pub fn act(&mut self, act: &Act) {
        match *act {
            Act::Admit { replica, key } => self.admit(replica, KEYS[key]),
            Act::AdmitKnowing { replica, key } => {
                self.replicas[replica] = self.truth();
                self.admit(replica, KEYS[key]);
            }
            Act::Pass { leader, pods } => {
                self.leaders[leader].claims = self.truth();
                if pods {
                    self.sync_pods(leader);
                }
                self.check(leader);
                self.write(leader);
            }
            Act::Sync { replica } => self.replicas[replica] = self.truth(),
            Act::Arrive { pod } => {
                if let Some(pod) = self.pod(pod)
                    && matches!(pod.stage, Stage::InFlight(_))
                {
                    pod.stage = Stage::Live;
                }
            }
            Act::Lose { pod } => self.take_out(pod, |stage| matches!(stage, Stage::InFlight(_))),
            Act::End { pod } => {
                if let Some(pod) = self.pod(pod)
                    && pod.stage == Stage::Live
                {
                    pod.stage = Stage::Ended;
                }
            }
            Act::Delete { pod } => self.take_out(pod, |stage| !matches!(stage, Stage::InFlight(_))),
            Act::SyncClaims { leader } => self.leaders[leader].claims = self.truth(),
            Act::SyncPods { leader } => self.sync_pods(leader),
            Act::Check { leader } => self.check(leader),
            Act::Write { leader } => self.write(leader),
            Act::Upkeep { leader } => self.upkeep(leader),
            Act::Crash { leader, offset } => {
                self.leaders[leader].sightings = Sightings::default();
                self.leaders[leader].offset = offset;
            }
            Act::Wait { seconds } => self.wait(seconds),
        }
    }

    /// Removes a pod, if it is in a stage that `which` accepts.
    fn take_out(&mut self, index: usize, which: impl Fn(Stage) -> bool) {
        if self.pod(index).is_some_and(|pod| which(pod.stage)) {
            let count = self.pods.len();
            self.pods.remove(index % count);
        }
    }

    /// Lets time pass. A pod that is not stored in time never is.
    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        let now = self.now;
        let too_late = |pod: &Pod| matches!(pod.stage, Stage::InFlight(until) if until < now);
        self.pods.retain(|pod| !too_late(pod));
    }

    /// Counts the pods that hold, or may still get, each claim.
    pub fn holders(&self) -> BTreeMap<&str, usize> {
        let mut holders = BTreeMap::new();
        for pod in self.pods.iter().filter(|pod| pod.stage != Stage::Ended) {
            *holders.entry(pod.claim.as_str()).or_default() += 1;
        }
        holders
    }
}

fn pool_key() -> ClaimPoolKey {
    ClaimPoolKey::new(NAMESPACE, PROFILE)
}

fn holder(pod: &Pod) -> Holder {
    Holder {
        lease: Some(pod.lease.clone()),
        claims: vec![pod.claim.clone()],
    }
}
