//! A cluster with a pool: an API server, and replicas of Slipway that admit pods.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use crate::api_server::{ApiServer, Call, Verb};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};
use slipway::{
    cache_claims::{self, Controller, Leaser, Timings},
    cluster::state::{ClusterState, LiveState},
    metrics::Metrics,
};
use slipway_core::{
    admission::{Admission, admit},
    cache::claims::{Claim, Claims},
    k8s::namespace::{Namespace, Namespaces},
    nodes::Snapshot,
    policy::Policy,
};
use tokio::{task::JoinHandle, time::Instant};

pub const CLAIMS: &str = "/api/v1/namespaces/ci/persistentvolumeclaims";
pub const PODS: &str = "/api/v1/namespaces/ci/pods";
pub const REVIEW: &str = include_str!("../../examples/reviews/scale-set-dind.json");
/// Where requests come from, unless a test says otherwise.
pub const API_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Fails a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// A controller with the shortest waits.
pub const TIMINGS: Timings = Timings {
    appearance_timeout: Duration::from_millis(300),
    resync: Duration::from_millis(50),
    debounce: Duration::from_millis(1),
};

/// Returns a policy whose only profile has a pool with these settings.
pub fn policy(settings: &str) -> Policy {
    Policy::parse(&format!(
        "{{profiles: {{fast: {{dind: {{cache: {{type: pool, {settings}}}}}}}}}, namespaces: [{{names: [ci], profile: fast}}]}}"
    ))
    .unwrap()
}

pub fn cluster_state(policy: Policy) -> ClusterState {
    let nodes = ["a", "b"].map(|zone| {
        serde_json::from_value(json!({
            "metadata": {"name": zone, "labels": {"topology.kubernetes.io/zone": zone}},
            "status": {"nodeInfo": {"containerRuntimeVersion": "containerd://2.1.4", "kubeletVersion": "v1.34.0"}}
        }))
        .unwrap()
    });
    let namespace = Namespace {
        name: "ci".to_owned(),
        labels: [("slipway.io/inject".to_owned(), "enabled".to_owned())].into(),
        ..Namespace::default()
    };
    ClusterState {
        nodes: Some(Snapshot::new(nodes).into()),
        namespaces: Some(Namespaces::new([namespace]).into()),
        policy: policy.into(),
        ..ClusterState::default()
    }
}

/// A replica that follows the claims and leases them.
pub struct Replica {
    pub state: Arc<LiveState>,
    pub metrics: Arc<Metrics>,
    pub leaser: Leaser,
    client: kube::Client,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Replica {
    pub async fn start(server: &ApiServer, name: &str, policy: Policy) -> Self {
        Self::with(server.client(name), policy).await
    }

    pub async fn with(client: kube::Client, policy: Policy) -> Self {
        let state = Arc::new(LiveState::new(cluster_state(policy)));
        let metrics = Arc::new(Metrics::new());
        let follow = cache_claims::follow(client.clone(), Arc::clone(&state), Arc::clone(&metrics));
        let replica = Self {
            leaser: Leaser::new(client.clone(), Arc::clone(&state), Arc::clone(&metrics)),
            state,
            metrics,
            client,
            tasks: vec![tokio::spawn(follow)],
        };
        replica
            .until(|claims| claims.iter().count() < usize::MAX)
            .await;
        replica
    }

    /// Waits for leases even if the machine is busy.
    pub fn patient(mut self) -> Self {
        let (state, metrics) = (Arc::clone(&self.state), Arc::clone(&self.metrics));
        self.leaser = Leaser::new(self.client.clone(), state, metrics).with_patience(PATIENCE);
        self
    }

    /// Makes it the leader.
    pub fn lead(&mut self) -> usize {
        self.lead_at(TIMINGS)
    }

    pub fn lead_at(&mut self, timings: Timings) -> usize {
        let (state, metrics) = (Arc::clone(&self.state), Arc::clone(&self.metrics));
        let controller = Controller::new(self.client.clone(), state, metrics, timings);
        self.tasks.push(tokio::spawn(controller.lead()));
        self.tasks.len() - 1
    }

    /// Ends its leadership, as the end of its process would.
    pub fn crash(&mut self, leading: usize) {
        self.tasks[leading].abort();
    }

    /// Waits until the claims that it knows are as wanted.
    pub async fn until(&self, mut wanted: impl FnMut(&Claims) -> bool) {
        let known =
            |state: &ClusterState| state.claims.as_ref().is_some_and(|claims| wanted(claims));
        let outcome = tokio::time::timeout(PATIENCE, self.state.until(known)).await;
        outcome.expect("the claims never became as wanted");
    }

    /// Admits a pod as the server does. Returns the patched pod, and the warnings and audit
    /// annotations.
    pub async fn admit(&self, review: &Value) -> Admitted {
        self.admit_from(API_SERVER, review).await
    }

    /// Admits a pod for the client at this address.
    pub async fn admit_from(&self, from: IpAddr, review: &Value) -> Admitted {
        let state = self.state.load().clone();
        let body = review.to_string();
        let answer = match admit(body.as_bytes(), state.cluster()).unwrap() {
            Admission::NeedsClaim(pending) => {
                let deadline = Instant::now() + PATIENCE;
                let request = pending.claim_request();
                let lease = self.leaser.lease(request, from, deadline).await;
                pending.with_lease(lease)
            }
            settled => settled.without_lease(),
        };
        Admitted::read(review, &answer.body)
    }

    pub fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.encode(&self.state.load()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .trim()
            .parse()
            .unwrap()
    }
}

/// A pod after its admission.
pub struct Admitted {
    pub pod: Value,
    pub claim: Option<String>,
    pub response: Value,
}

impl Admitted {
    pub fn read(review: &Value, answer: &[u8]) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD};

        let answer: Value = serde_json::from_slice(answer).unwrap();
        let response = answer["response"].clone();
        let mut pod = review["request"]["object"].clone();
        if let Some(patch) = response["patch"].as_str() {
            let patch = STANDARD.decode(patch).unwrap();
            let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
            json_patch::patch(&mut pod, &patch).unwrap();
        }
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let claim = volumes
            .iter()
            .find_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
            .map(str::to_owned);
        Self {
            pod,
            claim,
            response,
        }
    }

    /// Stores the pod in the API server.
    pub fn store(&self, server: &ApiServer, name: &str) {
        let mut pod = self.pod.clone();
        pod["metadata"]["name"] = json!(name);
        server.set(&format!("{PODS}/{name}"), pod);
    }
}

/// Returns a review of a runner pod of this set, with a unique uid.
pub fn review(uid: &str, set: &str) -> Value {
    let mut review: Value = serde_json::from_str(REVIEW).unwrap();
    review["request"]["uid"] = json!(uid);
    review["request"]["object"]["metadata"]["labels"]["actions.github.com/scale-set-name"] =
        json!(set);
    review
}

/// Returns a claim of the pool, as the controller would create it.
pub fn set_claim(server: &ApiServer, index: usize, annotations: &Value) {
    server.set(
        &format!("{CLAIMS}/slipway-fast-{index}"),
        json!({
            "metadata": {"labels": {"slipway.io/pool": "fast"}, "annotations": annotations},
            "spec": {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "50Gi"}}},
        }),
    );
}

/// Returns the calls to the API server, except watches, which may start at any time.
pub fn asked(server: &ApiServer) -> Vec<Call> {
    let mut calls = server.calls();
    calls.retain(|call| call.verb != Verb::Watch);
    calls
}

/// Returns the claims that the API server stores.
pub fn stored(server: &ApiServer, count: usize) -> Vec<Claim> {
    let paths = (0..count).map(|index| format!("{CLAIMS}/slipway-fast-{index}"));
    paths
        .filter_map(|path| {
            let object = server.object(&path)?;
            let object: PersistentVolumeClaim = serde_json::from_value(object).unwrap();
            cache_claims::claim_of(&object)
        })
        .collect()
}

/// Waits until the stored claims are as wanted.
pub async fn until_stored(
    server: &ApiServer,
    count: usize,
    mut wanted: impl FnMut(&[Claim]) -> bool,
) {
    let claims = |store: &crate::api_server::Store| -> Vec<Claim> {
        (0..count)
            .filter_map(|index| {
                let object = store.at(&format!("{CLAIMS}/slipway-fast-{index}"))?.clone();
                cache_claims::claim_of(&serde_json::from_value(object).unwrap())
            })
            .collect()
    };
    let outcome =
        tokio::time::timeout(PATIENCE, server.until(|store| wanted(&claims(store)))).await;
    outcome.expect("the claims were never stored as wanted");
}
