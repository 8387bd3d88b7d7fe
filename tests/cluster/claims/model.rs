//! The promise in a model: any interleaving of admissions, pods, watches that lag, leaders that
//! crash or lead at once, clocks that differ.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use slipway_core::{
    cache::claims::{
        Claim, ClaimPoolKey, Claims, Lease,
        choose::rank,
        claim::Annotations,
        expire::{APPEARANCE_TIMEOUT, Holder, PodLease, Sightings, is_over},
        upkeep::{UpkeepAction, plan_upkeep},
    },
    policy::ClaimPool,
};

/// The API server's patience with a request, in seconds.
const REQUEST_TIMEOUT: u64 = 60;
const NAMESPACE: &str = "ci";
const PROFILE: &str = "fast";
const KEYS: [&str; 2] = ["a", "b"];
/// Clocks may run so much faster, or slower, than time, in percent.
const CLOCK_RATES: [u64; 2] = [115, 90];

/// A claim as the database has it.
#[derive(Debug, Clone)]
struct Stored {
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

/// A pod, from its admission on.
#[derive(Debug, Clone)]
struct Pod {
    lease: String,
    claim: String,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Admitted; it may be stored until then.
    InFlight(u64),
    Live,
    Ended,
}

#[derive(Debug, Default)]
struct Leader {
    sightings: Sightings,
    claims: Claims,
    /// Leases of the pods in its watch: of all, and of the live ones.
    seen: HashSet<PodLease>,
    live: HashSet<PodLease>,
    /// What it has decided and not written yet: patches, and deletions.
    releases: Vec<(String, Value)>,
    deletions: Vec<Arc<Claim>>,
    /// A clock that begins anywhere.
    offset: u64,
    rate: u64,
}

#[derive(Debug)]
struct World {
    now: u64,
    next: u64,
    claims: BTreeMap<String, Stored>,
    pods: Vec<Pod>,
    replicas: [Claims; 2],
    leaders: [Leader; 2],
    pool: ClaimPool,
}

#[derive(Debug, Clone)]
enum Act {
    /// A replica admits a pod with what it knows.
    Admit {
        replica: usize,
        key: usize,
    },
    /// The same with a watch that has caught up.
    AdmitKnowing {
        replica: usize,
        key: usize,
    },
    /// A replica's watch catches up.
    Sync {
        replica: usize,
    },
    /// An admitted pod is stored, or never is.
    Arrive {
        pod: usize,
    },
    Lose {
        pod: usize,
    },
    /// A pod ends; its object may stay. Or it is deleted.
    End {
        pod: usize,
    },
    Delete {
        pod: usize,
    },
    /// A leader's watches catch up, each by itself.
    SyncClaims {
        leader: usize,
    },
    SyncPods {
        leader: usize,
    },
    /// A leader's whole turn, as it goes when nothing is in its way; its watch of pods may lag.
    Turn {
        leader: usize,
        pods: bool,
    },
    /// A leader looks for leases that are over, and lists pods.
    Look {
        leader: usize,
    },
    /// What a leader decided on is written, much later perhaps.
    Write {
        leader: usize,
    },
    /// A leader makes and deletes claims.
    Upkeep {
        leader: usize,
    },
    /// A leader forgets everything. What it has sent may still arrive.
    Crash {
        leader: usize,
        offset: u64,
    },
    Wait {
        seconds: u64,
    },
}

impl World {
    fn new(strict: bool) -> Self {
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

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn truth(&self) -> Claims {
        Claims::new(self.claims.iter().map(|(name, stored)| stored.claim(name)))
    }

    /// A clock on some wall, hours away from all others.
    fn wall(&self, who: usize) -> Timestamp {
        let now = Timestamp::from_second(i64::try_from(self.now).unwrap()).unwrap();
        let hours = if who == 0 { 5 } else { -7 };
        now + SignedDuration::from_hours(hours)
    }

    /// A merge patch, by the version that it names. Says whether it was taken.
    fn patch(&mut self, name: &str, patch: &Value) -> bool {
        let version = self.number();
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
        let lease = format!("r{}", self.number());
        let known = &self.replicas[replica];
        let candidates = rank(known.of_pool(&pool_key()), key, self.pool.strict_keys, None);
        for claim in candidates {
            let wanted = Lease {
                id: lease.clone(),
                pod: String::new(),
            };
            let patch = claim.lease_patch(&wanted, key, self.wall(replica));
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

    fn look(&mut self, leader: usize) {
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
        for claim in suspects {
            if is_over(&claim, &listed) {
                let patch = claim.release_patch(wall);
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
                    let (uid, version) = (self.number(), self.number());
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

    fn pod(&mut self, index: usize) -> Option<&mut Pod> {
        let count = self.pods.len();
        (count > 0).then(|| &mut self.pods[index % count])
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Admit { replica, key } => self.admit(replica, KEYS[key]),
            Act::AdmitKnowing { replica, key } => {
                self.replicas[replica] = self.truth();
                self.admit(replica, KEYS[key]);
            }
            Act::Turn { leader, pods } => {
                self.leaders[leader].claims = self.truth();
                if pods {
                    self.sync_pods(leader);
                }
                self.look(leader);
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
            Act::Look { leader } => self.look(leader),
            Act::Write { leader } => self.write(leader),
            Act::Upkeep { leader } => self.upkeep(leader),
            Act::Crash { leader, offset } => {
                self.leaders[leader].sightings = Sightings::default();
                self.leaders[leader].offset = offset;
            }
            Act::Wait { seconds } => self.wait(seconds),
        }
    }

    fn take_out(&mut self, index: usize, which: impl Fn(Stage) -> bool) {
        if self.pod(index).is_some_and(|pod| which(pod.stage)) {
            let count = self.pods.len();
            self.pods.remove(index % count);
        }
    }

    /// What was admitted and not stored in time never is.
    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        let now = self.now;
        let too_late = |pod: &Pod| matches!(pod.stage, Stage::InFlight(until) if until < now);
        self.pods.retain(|pod| !too_late(pod));
    }

    /// How many pods have, or may still get, each claim.
    fn holders(&self) -> BTreeMap<&str, usize> {
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

fn acts() -> impl Strategy<Value = Act> {
    let two = 0..2_usize;
    let pod = 0..64_usize;
    prop_oneof![
        6 => (two.clone(), 0..KEYS.len()).prop_map(|(replica, key)| Act::Admit { replica, key }),
        4 => two.clone().prop_map(|replica| Act::Sync { replica }),
        4 => pod.clone().prop_map(|pod| Act::Arrive { pod }),
        1 => pod.clone().prop_map(|pod| Act::Lose { pod }),
        2 => pod.clone().prop_map(|pod| Act::End { pod }),
        2 => pod.prop_map(|pod| Act::Delete { pod }),
        4 => two.clone().prop_map(|leader| Act::SyncClaims { leader }),
        3 => two.clone().prop_map(|leader| Act::SyncPods { leader }),
        4 => two.clone().prop_map(|leader| Act::Look { leader }),
        4 => two.clone().prop_map(|leader| Act::Write { leader }),
        3 => two.clone().prop_map(|leader| Act::Upkeep { leader }),
        1 => (two.clone(), 0..1_000_000_u64).prop_map(|(leader, offset)| Act::Crash { leader, offset }),
        4 => prop_oneof![1..15_u64, 40..60_u64].prop_map(|seconds| Act::Wait { seconds }),
        10 => (two.clone(), any::<bool>()).prop_map(|(leader, pods)| Act::Turn { leader, pods }),
        8 => (two.clone(), 0..KEYS.len())
            .prop_map(|(replica, key)| Act::AdmitKnowing { replica, key }),
        1 => Just(Act::Wait { seconds: 3_600 }),
    ]
}

/// The claims exist, and everybody knows them.
fn prepared(strict: bool) -> World {
    let mut world = World::new(strict);
    for _ in 0..2 {
        world.act(&Act::SyncClaims { leader: 0 });
        world.act(&Act::Upkeep { leader: 0 });
    }
    world.act(&Act::Sync { replica: 0 });
    world.act(&Act::Sync { replica: 1 });
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_claim_ever_has_two_pods(
        strict in any::<bool>(),
        acts in prop::collection::vec(acts(), 1..150),
    ) {
        let mut world = prepared(strict);
        for (i, act) in acts.iter().enumerate() {
            world.act(act);
            let twice = world.holders().into_iter().find(|(_, count)| *count > 1);
            prop_assert!(twice.is_none(), "{twice:?} after {:?}", &acts[..=i]);
        }
    }

    #[test]
    fn no_lease_outlasts_its_pod_for_longer_than_is_documented(
        acts in prop::collection::vec(acts(), 1..100),
    ) {
        let mut world = prepared(false);
        for act in &acts {
            world.act(act);
        }
        world.pods.clear();
        // One leader, at worst a new one with a slow clock, looks twice.
        world.act(&Act::Crash { leader: 1, offset: 0 });
        for seconds in [0, 85] {
            world.act(&Act::Wait { seconds });
            world.act(&Act::SyncClaims { leader: 1 });
            world.act(&Act::SyncPods { leader: 1 });
            world.act(&Act::Look { leader: 1 });
            world.act(&Act::Write { leader: 1 });
        }
        let truth = world.truth();
        let leased: Vec<_> = truth.iter().filter(|claim| !claim.is_free()).collect();
        prop_assert!(leased.is_empty(), "{leased:?}");
    }
}

#[test]
fn the_model_gives_claims_out_and_takes_them_back() {
    let mut world = prepared(true);
    assert_eq!(world.claims.len(), 2, "minFree are made ahead");
    for _ in 0..3 {
        world.act(&Act::Admit { replica: 0, key: 0 });
        world.act(&Act::Sync { replica: 0 });
    }
    assert_eq!(world.pods.len(), 2, "the third finds none");
    for pod in 0..2 {
        world.act(&Act::Arrive { pod });
    }
    for leader in [0, 1] {
        world.act(&Act::SyncClaims { leader });
        world.act(&Act::SyncPods { leader });
        world.act(&Act::Look { leader });
    }
    assert!(world.leaders[0].releases.is_empty(), "they live");
    world.act(&Act::End { pod: 0 });
    world.act(&Act::SyncPods { leader: 0 });
    world.act(&Act::Look { leader: 0 });
    world.act(&Act::Write { leader: 0 });
    let free = world.truth();
    let free: Vec<_> = free.iter().filter(|claim| claim.is_free()).collect();
    assert_eq!(free.len(), 1);
    assert!(free[0].serves("a"));
}
