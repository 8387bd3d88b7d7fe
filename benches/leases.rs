//! The time that leasing a claim adds to an admission request: `cargo bench --bench leases`.
//!
//! Two replicas lease the claims of one pool repeatedly, from an API server in memory and, if
//! `KUBEBUILDER_ASSETS` names the directory of `etcd`, `kube-apiserver` and `kubectl`, from a real one. The
//! lower bound is a plain write of a claim by the same client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that meets the unexpected should stop there"
)]

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use k8s_openapi::{api::core::v1::PersistentVolumeClaim, jiff::Timestamp};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use slipway::cache_claims::claim_of;
use slipway_core::{
    admission::{Admission, admit},
    cache::claims::{Claim, LeaseResult},
};
use slipway_testkit::{
    api_server::ApiServer,
    claims::{API_SERVER, Replica, policy, review},
    kube_apiserver,
};

const NAMESPACE: &str = "ci";
/// The number of claims in the pool, and of leases in a round.
const CLAIMS: usize = 64;
const ROUNDS: usize = 20;
/// How many requests run at once.
const AT_ONCE: [usize; 3] = [1, 8, 32];

/// The measurements of requests of which `at_once` ran at the same time.
#[derive(Default)]
struct Times {
    /// A plain write of a claim.
    write: Vec<Duration>,
    /// A lease.
    lease: Vec<Duration>,
    /// The complete request: decided, leased, decided again.
    request: Vec<Duration>,
    /// Requests that got no claim.
    without: usize,
}

#[tokio::main]
async fn main() {
    println!("{}\n", machine());
    println!(
        "Milliseconds. {CLAIMS} claims, two replicas; a bare write, and a lease, of {} each.\n",
        CLAIMS * ROUNDS
    );
    println!(
        "| API server | at once | write p50 | write p99 | lease p50 | lease p99 | request p50 | request p99 | no claim |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let in_memory = ApiServer::start();
    measure("in memory", [in_memory.client("a"), in_memory.client("b")]).await;
    let real = match kube_apiserver::Cluster::start("leases").await {
        Ok(real) => real,
        Err(missing) => return println!("\nWithout a real API server: {missing}"),
    };
    real.namespace(NAMESPACE, json!({})).await;
    let kubeconfig = real.directory().join("admin.kubeconfig");
    let clients = [client(&kubeconfig).await, client(&kubeconfig).await];
    measure("kube-apiserver, etcd without fsync", clients).await;
}

async fn measure(name: &str, clients: [Client; 2]) {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(clients[0].clone(), NAMESPACE);
    for index in 0..CLAIMS {
        api.create(&PostParams::default(), &claim(index))
            .await
            .unwrap();
    }
    let settings = format!("claims: {CLAIMS}");
    let [a, b] = clients;
    let replicas = [
        Replica::with(a, policy(&settings)).await,
        Replica::with(b, policy(&settings)).await,
    ];
    for at_once in AT_ONCE {
        let mut times = Times::default();
        // The first round warms connections up.
        for round in 0..=ROUNDS {
            let mut of_round = Times::default();
            lease_all(&replicas, at_once, &mut of_round).await;
            free_all(&api, at_once, &mut of_round).await;
            for replica in &replicas {
                let free = |claim: &Claim| claim.is_free();
                replica
                    .until(|claims| claims.iter().filter(|c| free(c)).count() == CLAIMS)
                    .await;
            }
            if round > 0 {
                times.extend(of_round);
            }
        }
        println!("| {name} | {at_once} | {} |", times.cells());
    }
}

/// Sends as many requests as there are claims, to the replicas in turn.
async fn lease_all(replicas: &[Replica; 2], at_once: usize, times: &mut Times) {
    let requests = (0..CLAIMS).map(|index| {
        let uid = format!("{}-{index}", Timestamp::now().as_nanosecond());
        request(&replicas[index % 2], review(&uid, "set"))
    });
    let mut done = stream::iter(requests).buffer_unordered(at_once);
    while let Some((lease, request, has_claim)) = done.next().await {
        times.lease.push(lease);
        times.request.push(request);
        times.without += usize::from(!has_claim);
    }
}

/// Handles a request as the server does, without HTTP and TLS.
async fn request(replica: &Replica, review: Value) -> (Duration, Duration, bool) {
    let body = review.to_string();
    let begin = Instant::now();
    let state = replica.state.load().clone();
    let admission = admit(body.as_bytes(), state.cluster()).unwrap();
    let Admission::NeedsClaim(pending) = admission else {
        panic!("the pod asks for no claim");
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    let before = Instant::now();
    let result = replica
        .leaser
        .lease(pending.claim_request(), API_SERVER, deadline)
        .await;
    let lease = before.elapsed();
    let has_claim = matches!(result, LeaseResult::Leased { .. });
    drop(pending.with_lease(result));
    (lease, begin.elapsed(), has_claim)
}

/// Ends all leases, each with a write like that of a lease.
async fn free_all(api: &Api<PersistentVolumeClaim>, at_once: usize, times: &mut Times) {
    let claims = api.list(&kube::api::ListParams::default()).await.unwrap();
    let claims: Vec<Claim> = claims.iter().filter_map(claim_of).collect();
    let writes = claims
        .iter()
        .filter(|claim| !claim.is_free())
        .map(|claim| async {
            let patch = Patch::Merge(claim.release_patch(None, Timestamp::now()));
            let begin = Instant::now();
            let parameters = PatchParams::default();
            api.patch(&claim.name, &parameters, &patch).await.unwrap();
            begin.elapsed()
        });
    let done = stream::iter(writes).buffer_unordered(at_once);
    times.write.extend(done.collect::<Vec<Duration>>().await);
}

impl Times {
    fn extend(&mut self, more: Self) {
        self.write.extend(more.write);
        self.lease.extend(more.lease);
        self.request.extend(more.request);
        self.without += more.without;
    }

    fn cells(mut self) -> String {
        let cells = [&mut self.write, &mut self.lease, &mut self.request].map(|times| {
            times.sort();
            let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
            let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
            format!("{:.2} | {:.2}", ms(at(50)), ms(at(99)))
        });
        format!("{} | {}", cells.join(" | "), self.without)
    }
}

fn claim(index: usize) -> PersistentVolumeClaim {
    let claim = json!({
        "metadata": {"name": format!("slipway-fast-{index}"), "labels": {"slipway.io/pool": "fast"}},
        "spec": {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "50Gi"}}},
    });
    serde_json::from_value(claim).unwrap()
}

async fn client(kubeconfig: &std::path::Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

/// Describes the CPU, its cores and the kernel.
fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |model| {
        model.trim_start_matches([' ', '\t', ':'])
    });
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}
