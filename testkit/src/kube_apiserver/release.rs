//! The chart, installed: all objects as rendered, except that the Deployment's pods run on this host and
//! the Service points to them.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{harness::Skip, workspace};

use super::{Api, Cluster, Service, guards, helm, replica::Replica};

pub(super) const NAMESPACE: &str = "slipway-system";
/// The name of the release, and of everything that the chart creates.
pub(super) const NAME: &str = "slipway";
/// The user that the API server knows the release's service account by.
pub const ACCOUNT: &str = "system:serviceaccount:slipway-system:slipway";
/// Arguments of the container that depend on its pod.
const OF_THE_POD: [&str; 3] = ["--listen=", "--metrics-listen=", "--policy="];

/// Renders the webhook that the chart registers.
pub fn rendered_webhook(values: &Value) -> Result<Value, Skip> {
    let objects = helm::template(NAME, NAMESPACE, values)?;
    let configuration = helm::find_object(&objects, "MutatingWebhookConfiguration", NAME);
    Ok(configuration["webhooks"][0].clone())
}

/// An installed release.
pub struct Release {
    directory: PathBuf,
    /// The arguments of the Deployment's container.
    arguments: Vec<String>,
    /// The objects of `helm test`.
    hooks: Vec<Value>,
    service: Service,
}

impl Release {
    /// Installs the chart with these values.
    pub async fn install(cluster: &Cluster, mut values: Value) -> Result<Self, Skip> {
        let service = Service::start();
        values["service"] = json!({"port": service.port()});
        let objects = helm::template(NAME, NAMESPACE, &values)?;
        cluster.namespace(NAMESPACE, json!({})).await;
        let installed = objects.iter().filter(|object| {
            let is_service = object["kind"] == "Service";
            !is_service && !helm::is_of_test(object)
        });
        apply(cluster, &installed.cloned().collect::<Vec<_>>());
        // There is no cluster network, so the Service has the name of the host.
        let external = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        });
        apply(cluster, &[external]);
        Ok(Self::of(cluster, objects, service).await)
    }

    /// Installs the chart with helm.
    pub async fn install_by_helm(cluster: &Cluster, mut values: Value) -> Result<Self, Skip> {
        let service = Service::start();
        values["service"] = json!({"port": service.port()});
        let arguments = ["install", NAME, "charts/slipway", "--create-namespace"];
        let more = ["--namespace", NAMESPACE, "--values=-"];
        let arguments = [&arguments[..], &more].concat();
        let (_, error) = helm::run(&cluster.kubeconfig(), &arguments, &values)?;
        assert_eq!(error, None);
        let path = format!("/api/v1/namespaces/{NAMESPACE}/services/{NAME}");
        let external = json!({"spec": {"type": "ExternalName", "externalName": "localhost"}});
        cluster.admin().await.merge(&path, &external).await.ok();
        let objects = helm::template(NAME, NAMESPACE, &values)?;
        Ok(Self::of(cluster, objects, service).await)
    }

    /// Runs another helm command on the release. Returns its errors if it fails.
    pub fn helm(&self, cluster: &Cluster, arguments: &[&str], mut values: Value) -> Option<String> {
        values["service"] = json!({"port": self.service.port()});
        let arguments = [arguments, &["--namespace", NAMESPACE]].concat();
        let (_, error) = helm::run(&cluster.kubeconfig(), &arguments, &values).unwrap();
        error
    }

    /// Describes a release whose objects are installed. Nothing runs before the guards are enforced, so that
    /// they are tested too.
    async fn of(cluster: &Cluster, objects: Vec<Value>, service: Service) -> Self {
        guards::until_enforced(cluster, &objects).await;
        let (hooks, others): (Vec<Value>, Vec<Value>) =
            objects.into_iter().partition(helm::is_of_test);
        let directory = cluster.directory().join(NAME);
        fs::create_dir_all(&directory).unwrap();
        let policy = helm::find_object(&others, "ConfigMap", "slipway-policy");
        let policy = policy["data"]["policy.yaml"].as_str().unwrap();
        fs::write(directory.join("policy.yaml"), policy).unwrap();
        let deployment = helm::find_object(&others, "Deployment", NAME);
        let pod = &deployment["spec"]["template"]["spec"];
        let account = pod["serviceAccountName"].as_str().unwrap();
        let token = token(cluster, account).await;
        let kubeconfig = cluster.kubeconfig_with_token(&token);
        fs::write(directory.join("kubeconfig"), kubeconfig).unwrap();
        let arguments = pod["containers"][0]["args"].as_array().unwrap();
        let arguments = arguments.iter().map(|a| a.as_str().unwrap().to_owned());
        let is_kept = |argument: &String| !OF_THE_POD.iter().any(|p| argument.starts_with(p));
        Self {
            arguments: arguments.filter(is_kept).collect(),
            hooks,
            directory,
            service,
        }
    }

    /// Returns the service account's client of the API server.
    pub async fn api(&self) -> Api {
        Api::of_kubeconfig(&self.kubeconfig()).await
    }

    fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// Starts a replica, as the Deployment would.
    pub fn start(&self, name: &str) -> Replica {
        let mut command = Command::new(workspace::program());
        command
            .args(&self.arguments)
            .arg(format!("--policy={}", self.policy().display()))
            .env("SLIPWAY_NAMESPACE", NAMESPACE)
            .env("SLIPWAY_POD_NAME", name)
            .env("SLIPWAY_KUBECONFIG", self.kubeconfig());
        Replica::start(command, &self.directory.join(format!("{name}.log")))
    }

    /// Points the Service to these replicas, as if only they were ready.
    pub fn route_to<'a>(&self, replicas: impl IntoIterator<Item = &'a Replica>) {
        let addresses = replicas.into_iter().map(Replica::address);
        self.service.route_to(addresses.collect());
    }

    /// Renders the chart with other values.
    pub fn rendered(&self, mut values: Value) -> Vec<Value> {
        values["service"] = json!({"port": self.service.port()});
        helm::template(NAME, NAMESPACE, &values).unwrap()
    }

    /// Returns the policy, as it is mounted.
    pub fn policy(&self) -> PathBuf {
        self.directory.join("policy.yaml")
    }

    /// Creates the service account of `helm test`. Returns its kubeconfig.
    pub async fn add_check_account(&self, cluster: &Cluster) -> PathBuf {
        let is_pod = |object: &&Value| object["kind"] == "Pod";
        let pod = self.hooks.iter().find(is_pod).unwrap();
        let account = pod["spec"]["serviceAccountName"].as_str().unwrap();
        let others = self.hooks.iter().filter(|object| !is_pod(object));
        apply(cluster, &others.cloned().collect::<Vec<_>>());
        let kubeconfig = cluster.kubeconfig_with_token(&token(cluster, account).await);
        let path = self.directory.join("check.kubeconfig");
        fs::write(&path, kubeconfig).unwrap();
        path
    }

    /// Breaks the connections that the API server keeps open.
    pub fn close_connections(&self) {
        self.service.close_connections();
    }

    /// Starts a replica, and waits until it is ready and the Service points to it.
    pub async fn start_one(&self) -> Replica {
        let replica = self.start("slipway-0");
        replica.until_ready().await;
        self.route_to([&replica]);
        replica
    }
}

/// Writes the Service's EndpointSlice, as a controller would. The address is from a documentation
/// range, because loopback addresses are not allowed.
pub fn say_ready(cluster: &Cluster, ready: bool) {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": ready}}],
        "ports": [{"name": "https", "port": 8443}],
    });
    apply(cluster, &[slice]);
}

/// Applies as a GitOps tool would, which takes over the ownership of fields. Strictly: the API server
/// rejects unknown fields.
pub fn apply(cluster: &Cluster, objects: &[Value]) {
    let mut kubectl = cluster
        .kubectl()
        .args([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--validate=strict",
        ])
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = kubectl.stdin.take().unwrap();
    stdin
        .write_all(helm::list(objects).to_string().as_bytes())
        .unwrap();
    drop(stdin);
    let output = kubectl.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl apply: {errors}");
}

/// Requests a token for the release's service account, as a kubelet would.
async fn token(cluster: &Cluster, account: &str) -> String {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token");
    let request = json!({"spec": {"expirationSeconds": 3600}});
    let reply = cluster.admin().await.post(&path, &request).await.ok();
    reply["status"]["token"].as_str().unwrap().to_owned()
}
