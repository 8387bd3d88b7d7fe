//! A separate cluster with Slipway installed, for tests that disturb others.

use serde_json::{Value, json};
use slipway_testkit::harness::Skip;

use super::{
    fixture::{add_nodes, status, values},
    harness::{Api, Attempt, Cluster, Load, Release, eventually, pods},
};

/// The webhook's timeout in seconds, which is also a bucket of the API server's histogram.
const TIMEOUT: u32 = 10;
pub const NAMESPACE: &str = "ci";

/// A cluster in which no replica runs yet.
pub struct Place {
    pub cluster: Cluster,
    pub release: Release,
    pub api: Api,
}

impl Place {
    /// Starts the cluster and installs the chart.
    pub async fn new(name: &str) -> Result<Self, Skip> {
        Self::with(name, Self::values()).await
    }

    /// The same, with these values of the chart.
    pub async fn with(name: &str, values: Value) -> Result<Self, Skip> {
        let (cluster, api) = Self::prepare(name).await?;
        let release = Release::install(&cluster, values).await?;
        Ok(Self {
            cluster,
            release,
            api,
        })
    }

    /// Starts the cluster and installs the chart with helm.
    pub async fn by_helm(name: &str) -> Result<Self, Skip> {
        let (cluster, api) = Self::prepare(name).await?;
        let release = Release::install_by_helm(&cluster, Self::values()).await?;
        Ok(Self {
            cluster,
            release,
            api,
        })
    }

    /// Returns the chart's values.
    pub fn values() -> Value {
        let mut values = values();
        values["webhook"] = json!({"timeoutSeconds": TIMEOUT});
        values["drain"] = json!({"delaySeconds": 1});
        values
    }

    async fn prepare(name: &str) -> Result<(Cluster, Api), Skip> {
        let cluster = Cluster::start(name).await?;
        let api = cluster.admin().await;
        add_nodes(&api).await;
        let labels = json!({"slipway.io/inject": "enabled"});
        cluster.namespace(NAMESPACE, labels).await;
        Ok((cluster, api))
    }

    /// Waits until pods are patched.
    pub async fn until_patched(&self) {
        eventually("pods to be patched", async || {
            let reply = self.api.post(&pods::dry_run(NAMESPACE), &pod()).await;
            status(&reply.body)
        })
        .await;
    }

    /// Starts a load of runner pods.
    pub fn load(&self) -> Load {
        Load::start(&self.api, &pods::dry_run(NAMESPACE), &pod())
    }

    /// Checks that no call of the webhook reached its timeout.
    pub async fn assert_nothing_waited(&self) {
        const CALLS: &str = "apiserver_admission_webhook_admission_duration_seconds";
        let text = self.metrics().await;
        let all = sum(&text, &format!("{CALLS}_count"), "");
        let in_time = format!("le=\"{TIMEOUT}\"");
        let in_time = sum(&text, &format!("{CALLS}_bucket"), &in_time);
        assert!(all > 0);
        assert_eq!(in_time, all, "calls in time, and all");
    }

    /// Returns how often the API server admitted a pod because Slipway did not answer.
    pub async fn failed_open(&self) -> usize {
        let name = "apiserver_admission_webhook_fail_open_count";
        sum(&self.metrics().await, name, "")
    }

    async fn metrics(&self) -> String {
        let text = self.api.get("/metrics").await.ok();
        text.as_str().unwrap().to_owned()
    }
}

/// Returns the sum of an API server's metric over the lines about Slipway's webhook.
fn sum(metrics: &str, name: &str, label: &str) -> usize {
    let ours = metrics.lines().filter(|line| {
        line.starts_with(&format!("{name}{{"))
            && line.contains("name=\"inject.slipway.io\"")
            && line.contains(label)
    });
    ours.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
        .sum()
}

/// Returns a runner pod that can be created many times.
pub fn pod() -> Value {
    let mut pod = pods::example("scale-set-dind");
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.remove("name");
    metadata.insert("generateName".to_owned(), json!("runner-"));
    pod
}

/// Checks that all pods were created. Returns how many Slipway had patched, and how many not.
pub fn count(attempts: Vec<Attempt>) -> (usize, usize) {
    let pods = attempts.into_iter().map(|attempt| attempt.unwrap().ok());
    let (patched, plain): (Vec<Value>, _) = pods.partition(|pod| status(pod).is_some());
    (patched.len(), plain.len())
}
