//! etcd and an API server on loopback.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{harness::Skip, workspace};

use super::{
    Api, Reply, assets, base64, eventually, free_port,
    pki::{Authority, Pair},
    process::{Process, Signal},
};

/// Writes every request to the audit log, with the annotations that admission added.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// A cluster without nodes, kubelets or controllers: an API server with its usual admission plugins.
pub struct Cluster {
    directory: PathBuf,
    assets: &'static Path,
    port: u16,
    etcd_port: u16,
    ca: String,
    admin: Pair,
    apiserver: Process,
    _etcd: Process,
}

impl Cluster {
    /// Starts, once, the cluster that tests share.
    pub async fn shared() -> Result<&'static Self, Skip> {
        static SHARED: OnceCell<Result<Cluster, Skip>> = OnceCell::const_new();
        let start = || Self::start("shared");
        SHARED
            .get_or_init(start)
            .await
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Starts a cluster for one test.
    pub async fn start(name: &str) -> Result<Self, Skip> {
        let assets = assets::find()?;
        let directory = workspace::scratch().join("apiserver").join(name);
        // Logs of an earlier run.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let authority = Authority::new();
        let (port, etcd_port) = (free_port(), free_port());
        write_files(&directory, &authority);
        let mut cluster = Self {
            _etcd: start_etcd(assets, &directory, etcd_port),
            apiserver: start_apiserver(assets, &directory, port, etcd_port),
            admin: authority.client("admin", "system:masters"),
            ca: authority.pem,
            directory,
            assets,
            port,
            etcd_port,
        };
        fs::write(cluster.kubeconfig(), cluster.kubeconfig_of_admin()).unwrap();
        cluster.until_ready().await;
        Ok(cluster)
    }

    /// Returns the directory of its files and logs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the administrator's client, which may do everything.
    pub async fn admin(&self) -> Api {
        Api::of_kubeconfig(&self.kubeconfig()).await
    }

    /// The administrator's, who pretends to be another user. The audit log has it as the administrator's.
    pub async fn admin_as(&self, user: &str) -> Api {
        let mut kubeconfig: Value = serde_json::from_str(&self.kubeconfig_of_admin()).unwrap();
        kubeconfig["users"][0]["user"]["as"] = json!(user);
        let path = self.directory.join("admin-as.kubeconfig");
        fs::write(&path, kubeconfig.to_string()).unwrap();
        Api::of_kubeconfig(&path).await
    }

    /// Runs `kubectl` as the administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(assets::kubectl().expect("it was there at the start"));
        command.arg("--kubeconfig").arg(self.kubeconfig());
        // Its discovery cache.
        command.env("HOME", &self.directory);
        command
    }

    /// Creates a namespace, and the service account that a controller would create.
    pub async fn namespace(&self, name: &str, labels: Value) {
        let api = self.admin().await;
        let namespace = json!({"metadata": {"name": name, "labels": labels}});
        api.post("/api/v1/namespaces", &namespace).await.ok();
        let account = json!({"metadata": {"name": "default"}});
        let accounts = format!("/api/v1/namespaces/{name}/serviceaccounts");
        api.post(&accounts, &account).await.ok();
    }

    /// Stops the API server. The stored objects stay.
    pub async fn stop(&mut self, signal: Signal) {
        self.apiserver.end(signal).await;
    }

    /// Starts the API server again, on the same port.
    pub async fn restart(&mut self) {
        let (assets, directory) = (self.assets, &self.directory);
        self.apiserver = start_apiserver(assets, directory, self.port, self.etcd_port);
        self.until_ready().await;
    }

    /// Returns the annotations of a request's event in the audit log.
    pub async fn audit_annotations(&self, reply: &Reply) -> Value {
        eventually("an event in the audit log", async || {
            let text = end_of(&self.directory.join("audit.log"));
            let mut lines = text.lines().rev();
            let line = lines.find(|line| line.contains(&reply.audit_id))?;
            // The last line may be incomplete.
            let event: Value = serde_json::from_str(line).ok()?;
            Some(event["annotations"].clone())
        })
        .await
    }

    /// Returns a user's requests so far.
    pub fn audit_events(&self, user: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.directory.join("audit.log")).unwrap();
        let events = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter(|event| event["user"]["username"] == user)
            .collect()
    }

    /// Returns the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("admin.kubeconfig")
    }

    fn kubeconfig_of_admin(&self) -> String {
        self.kubeconfig_with(&json!({
            "client-certificate-data": base64(&self.admin.certificate),
            "client-key-data": base64(&self.admin.key),
        }))
    }

    /// Returns a kubeconfig (JSON is YAML) for a user with a bearer token.
    pub fn kubeconfig_with_token(&self, token: &str) -> String {
        self.kubeconfig_with(&json!({"token": token}))
    }

    fn kubeconfig_with(&self, user: &Value) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [{"name": "test", "user": user}],
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority-data": base64(&self.ca),
            }}],
        })
        .to_string()
    }

    async fn until_ready(&mut self) {
        let api = self.admin().await;
        let apiserver = Mutex::new(&mut self.apiserver);
        eventually("the API server's /readyz", async || {
            apiserver.lock().unwrap().assert_alive();
            let reply = api.send("GET", "/readyz", None).await.ok()?;
            reply.is_ok().then_some(())
        })
        .await;
    }
}

/// Returns the last lines of a growing file.
fn end_of(path: &Path) -> String {
    const ENOUGH: u64 = 256 << 10;
    let mut file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let start = SeekFrom::Start(length.saturating_sub(ENOUGH));
    file.seek(start).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn write_files(directory: &Path, authority: &Authority) {
    let serving = authority.server();
    let accounts = rcgen::KeyPair::generate().unwrap();
    for (name, text) in [
        ("ca.crt", authority.pem.as_str()),
        ("apiserver.crt", &serving.certificate),
        ("apiserver.key", &serving.key),
        ("accounts.key", &accounts.serialize_pem()),
        ("accounts.pub", &accounts.public_key_pem()),
        ("audit.yaml", AUDIT_POLICY),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
}

fn start_etcd(assets: &Path, directory: &Path, port: u16) -> Process {
    let data = directory.join("etcd");
    let client = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(assets.join("etcd"));
    command
        .arg(format!("--data-dir={}", data.display()))
        .arg(format!("--listen-client-urls={client}"))
        .arg(format!("--advertise-client-urls={client}"))
        .arg(format!(
            "--listen-peer-urls=http://127.0.0.1:{}",
            free_port()
        ))
        .args(["--unsafe-no-fsync", "--log-level=error"]);
    Process::start(&command, &directory.join("etcd.log"), Some(&data))
}

fn start_apiserver(assets: &Path, directory: &Path, port: u16, etcd_port: u16) -> Process {
    let file = |name: &str| directory.join(name).display().to_string();
    let mut command = Command::new(assets.join("kube-apiserver"));
    command
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        .arg(format!("--secure-port={port}"))
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd_port}"))
        .arg(format!("--tls-cert-file={}", file("apiserver.crt")))
        .arg(format!("--tls-private-key-file={}", file("apiserver.key")))
        .arg(format!("--client-ca-file={}", file("ca.crt")))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(format!(
            "--service-account-key-file={}",
            file("accounts.pub")
        ))
        .arg(format!(
            "--service-account-signing-key-file={}",
            file("accounts.key")
        ))
        .args([
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
        ])
        .arg(format!("--audit-policy-file={}", file("audit.yaml")))
        .arg(format!("--audit-log-path={}", file("audit.log")))
        .arg("--allow-privileged=true")
        // Ends watches, which would otherwise delay its shutdown by a minute.
        .arg("--shutdown-watch-termination-grace-period=1s");
    Process::start(&command, &directory.join("apiserver.log"), None)
}
