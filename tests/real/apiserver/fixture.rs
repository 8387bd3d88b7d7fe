//! The cluster that most tests share: nodes, and the installed chart.

use serde_json::{Value, json};
use slipway_testkit::harness::Skip;
use tokio::sync::OnceCell;

use super::harness::{Api, Cluster, Release, Replica, Reply, eventually, pods, yaml};

/// Profiles with large requests, which must be limited where necessary.
pub const PROFILES: [&str; 4] = ["default", "greedy", "buildkitd", "added"];

/// A cluster with AKS-like nodes in which Slipway runs.
pub struct Installed {
    pub cluster: &'static Cluster,
    pub release: Release,
    pub replica: Replica,
}

/// Installs, once, the release that most tests share.
pub async fn installed() -> Result<&'static Installed, Skip> {
    static INSTALLED: OnceCell<Result<Installed, Skip>> = OnceCell::const_new();
    let install = async || {
        let cluster = Cluster::shared().await?;
        add_nodes(&cluster.admin().await).await;
        let release = Release::install(cluster, values()).await?;
        let replica = release.start_one().await;
        Ok(Installed {
            cluster,
            release,
            replica,
        })
    };
    INSTALLED
        .get_or_init(install)
        .await
        .as_ref()
        .map_err(Clone::clone)
}

/// Returns the chart's values. They have no mirrors: those are probed, and nothing may leave this host.
pub fn values() -> Value {
    json!({"policy": {"profiles": {
        "default": {"dind": {"registryMirrors": []}},
        "greedy": {
            "overwrite": "all",
            "dind": {
                "registryMirrors": [],
                "inject": "ifMissing",
                "resources": {
                    "requests": {"cpu": "2", "memory": "2Gi"},
                    "limits": {"cpu": "4", "memory": "8Gi"},
                },
                "daemonConfig": {"max-concurrent-downloads": 6},
                "cache": {"type": "ephemeral", "storageClass": "fast", "size": "50Gi"},
            },
            "buildkit": {"localCache": {"type": "hostPath", "path": "/tmp/buildkit-cache"}},
        },
        "buildkitd": {
            "replaceDockerd": true,
            "containerd": {"buildkitd": {"cache": {"type": "emptyDir", "sizeLimit": "50Gi"}}},
            "dind": {"registryMirrors": []},
            "buildkit": {"localCache": {"type": "emptyDir", "path": "/cache"}},
        },
        "added": {
            "strategy": "dind",
            "dind": {"registryMirrors": [], "inject": "ifMissing"},
        },
    }}})
}

/// Creates the nodes of `examples/nodes/aks.yaml`.
pub async fn add_nodes(api: &Api) {
    for node in yaml("examples/nodes/aks.yaml")["items"].as_array().unwrap() {
        let mut new = node.clone();
        for of_the_server in [
            "creationTimestamp",
            "resourceVersion",
            "uid",
            "managedFields",
        ] {
            new["metadata"]
                .as_object_mut()
                .unwrap()
                .remove(of_the_server);
        }
        api.post("/api/v1/nodes", &new).await.ok();
        // New nodes are tainted as not ready until a controller removes the taint.
        let path = format!(
            "/api/v1/nodes/{}",
            node["metadata"]["name"].as_str().unwrap()
        );
        let taints = json!({"spec": {"taints": node["spec"]["taints"]}});
        api.merge(&path, &taints).await.ok();
    }
}

impl Installed {
    /// Creates a namespace that has opted in, and waits until Slipway knows it.
    pub async fn enabled(&self, name: &str, more: &Value) {
        let mut labels = json!({"slipway.io/inject": "enabled"});
        for (key, value) in more.as_object().into_iter().flatten() {
            labels[key] = value.clone();
        }
        self.cluster.namespace(name, labels).await;
        let api = self.cluster.admin().await;
        let mut probe = pods::example("no-docker");
        // Every namespace here admits this pod.
        probe["spec"] = hardened_spec();
        eventually("Slipway to know the namespace", async || {
            let reply = api.post(&pods::dry_run(name), &probe).await;
            let audit = self.audit(&reply).await;
            let reasons = audit.get("inject.slipway.io/reasons")?.as_str()?.to_owned();
            (!reasons.contains("namespace-unknown")).then_some(())
        })
        .await;
    }

    /// Returns the audit annotations of a request.
    pub async fn audit(&self, reply: &Reply) -> Value {
        self.cluster.audit_annotations(reply).await
    }

    /// Returns whether the API server sent the pod of a request to Slipway.
    pub async fn was_asked(&self, reply: &Reply) -> bool {
        !calls(&self.audit(reply).await, "slipway").is_empty()
    }
}

/// Returns the calls of a webhook configuration for a request, in order.
pub fn calls(audit: &Value, configuration: &str) -> Vec<Value> {
    let annotations = audit.as_object().into_iter().flatten();
    let mut of_webhooks: Vec<(&String, &Value)> = annotations
        .filter(|(key, _)| key.starts_with("mutation.webhook.admission.k8s.io/round_"))
        .collect();
    of_webhooks.sort_by_key(|(key, _)| *key);
    of_webhooks
        .into_iter()
        .filter_map(|(_, value)| serde_json::from_str::<Value>(value.as_str()?).ok())
        .filter(|call| call["configuration"] == configuration)
        .collect()
}

/// Returns the spec of a runner pod that Pod Security level `restricted` admits.
pub fn hardened_spec() -> Value {
    json!({
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "runner",
            "image": "ghcr.io/actions/actions-runner:2.328.0",
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "10m", "memory": "16Mi"}},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    })
}

/// Returns the container or init container of this name.
pub fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let lists = ["initContainers", "containers"];
    let mut all = lists
        .iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
    all.find(|container| container["name"] == name)
        .unwrap_or_else(|| panic!("no container {name} in {pod:#}"))
}

/// Parses the pod's status annotation.
pub fn status(pod: &Value) -> Option<Value> {
    let text = pod["metadata"]["annotations"]["slipway.io/status"].as_str()?;
    Some(serde_json::from_str(text).unwrap())
}
