//! `slipway serve` as the chart runs it, against an in-memory API server.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use slipway_testkit::api_server::ApiServer;
use tokio::time::timeout;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/slipway-system/leases/slipway-leader";
const SECRET: &str = "/api/v1/namespaces/slipway-system/secrets/slipway-tls";
const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/slipway";

struct Replica {
    child: Child,
    log: BufReader<ChildStderr>,
    dir: PathBuf,
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn start(server: &ApiServer, name: &str, policy: &str) -> Replica {
    let dir = std::env::temp_dir().join(format!("slipway-serve-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", server.address())}}],
        "users": [{"name": "test", "user": {"token": name}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    fs::write(dir.join("kubeconfig"), kubeconfig.to_string()).unwrap();
    fs::write(dir.join("policy.yaml"), policy).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args([
            "serve",
            "--listen=127.0.0.1:0",
            "--metrics-listen=127.0.0.1:0",
        ])
        .args(["--probe-mirrors=false", "--log-format=json"])
        .arg(format!("--pod-name={name}"))
        .arg("--kubeconfig")
        .arg(dir.join("kubeconfig"))
        .arg("--policy")
        .arg(dir.join("policy.yaml"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    Replica { child, log, dir }
}

impl Replica {
    /// Reads the log up to the next line with this message, and returns that line.
    fn line(&mut self, message: &str) -> Value {
        let mut log = String::new();
        loop {
            let start = log.len();
            let length = self.log.read_line(&mut log).unwrap();
            assert_ne!(length, 0, "the log ended without `{message}`:\n{log}");
            let line: Value = serde_json::from_str(&log[start..]).unwrap_or_default();
            if line["message"] == message {
                return line;
            }
        }
    }

    /// Waits until the process ends, which must be with this exit code. Returns the rest of the log.
    fn exits_with(&mut self, code: i32) -> String {
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(
            status.code(),
            Some(code),
            "{status}, after this log:\n{log}"
        );
        log
    }

    fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
    }
}

async fn until(server: &ApiServer, path: &str, wanted: impl Fn(&Value) -> bool) {
    let reached = server.until(|store| store.at(path).is_some_and(&wanted));
    let reached = timeout(Duration::from_secs(60), reached).await;
    reached.unwrap_or_else(|_| panic!("{path}: {:?}", server.object(path)));
}

fn cluster() -> ApiServer {
    let server = ApiServer::start();
    let info =
        json!({"containerRuntimeVersion": "containerd://2.1.4", "kubeletVersion": "v1.36.2"});
    server.set("/api/v1/nodes/n1", json!({"status": {"nodeInfo": info}}));
    server.set("/api/v1/namespaces/ci", json!({}));
    server.set(
        CONFIGURATION,
        json!({"webhooks": [{"name": "inject.slipway.io", "clientConfig": {"url": "https://localhost/mutate"},
            "admissionReviewVersions": ["v1"], "sideEffects": "None"}]}),
    );
    server
}

fn ready(metrics: &str) -> bool {
    let answer = Command::new("curl")
        .args(["--silent", "--fail", &format!("http://{metrics}/readyz")])
        .output();
    answer.is_ok_and(|answer| answer.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_installs_itself_becomes_ready_and_releases_the_lease() {
    let server = cluster();
    let mut replica = start(&server, "replica-a", "{}");
    let metrics = tokio::task::block_in_place(|| replica.line("serving"))["metrics"]
        .as_str()
        .unwrap()
        .to_owned();
    until(&server, LEASE, |lease| {
        lease["spec"]["holderIdentity"] == "replica-a"
    })
    .await;
    until(&server, SECRET, |secret| {
        secret["data"]["tls.crt"].is_string()
    })
    .await;
    until(&server, CONFIGURATION, |configuration| {
        configuration["webhooks"][0]["clientConfig"]["caBundle"].is_string()
    })
    .await;
    let became_ready = async {
        while !ready(&metrics) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), became_ready)
        .await
        .unwrap();

    replica.terminate();
    let log = tokio::task::block_in_place(|| replica.exits_with(0));
    let lease = server.object(LEASE).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "", "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unusable_policy_stops_the_start_and_the_log_says_why() {
    let server = cluster();
    for (name, policy, why) in [
        (
            "mistyped",
            "profiles: {fast: {mtuu: 1}}",
            "unknown key `mtuu`",
        ),
        ("emptied", "", "the file is empty"),
    ] {
        let mut replica = start(&server, name, policy);
        let log = tokio::task::block_in_place(|| replica.exits_with(1));
        assert!(log.contains(why), "{log}");
    }
    assert!(
        server.calls().is_empty(),
        "a replica without a policy must not call the API server"
    );
}
