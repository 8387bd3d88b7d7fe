//! The upstream registry, which takes the name of Docker Hub's, and a pull-through mirror of it.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::json;

use super::{
    machine::wait_for,
    network::{HUB, HUB_NAMESPACE, MIRROR, MIRROR_LISTENS, UPSTREAM},
};

/// Mirrors serve Docker Hub only, so the upstream registry must have this name.
const UPSTREAM_NAME: &str = "registry-1.docker.io";
const MIRROR_NAME: &str = "mirror.test";
/// The address that profiles name.
pub const MIRROR_URL: &str = "https://mirror.test";

/// A registry that runs. Dropping it ends it.
pub struct Registry {
    process: Child,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The certificates of both registries, and the names by which a container finds them.
pub struct Identities {
    dir: PathBuf,
}

impl Identities {
    /// Makes an authority and certificates below `dir`.
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "benchmark's authority");
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        fs::write(dir.join("authority.pem"), authority.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        for name in [UPSTREAM_NAME, MIRROR_NAME] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
            fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        let hosts =
            format!("127.0.0.1 localhost\n{UPSTREAM} {UPSTREAM_NAME}\n{MIRROR} {MIRROR_NAME}\n");
        fs::write(dir.join("hosts"), hosts).unwrap();
        Self {
            dir: dir.to_owned(),
        }
    }

    /// What a container mounts to find the registries, and to trust them.
    pub fn mounts(&self) -> Vec<(PathBuf, String)> {
        vec![
            (self.dir.join("hosts"), "/etc/hosts".to_owned()),
            (
                self.authority(),
                "/etc/ssl/certs/ca-certificates.crt".to_owned(),
            ),
        ]
    }

    /// The file of names.
    pub fn hosts(&self) -> PathBuf {
        self.dir.join("hosts")
    }

    fn authority(&self) -> PathBuf {
        self.dir.join("authority.pem")
    }

    /// Starts the upstream registry on what is in `storage`.
    pub fn upstream(&self, storage: &Path) -> Registry {
        let config = self.config(UPSTREAM_NAME, HUB, storage);
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={HUB_NAMESPACE}"));
        command.arg("docker-registry");
        self.start(command, UPSTREAM_NAME, &config, HUB)
    }

    /// Starts a mirror on what is in `storage`.
    pub fn mirror(&self, storage: &Path) -> Registry {
        let mut config = self.config(MIRROR_NAME, MIRROR_LISTENS, storage);
        config["proxy"] = json!({"remoteurl": format!("https://{UPSTREAM_NAME}")});
        let command = Command::new("docker-registry");
        self.start(command, MIRROR_NAME, &config, MIRROR_LISTENS)
    }

    fn config(&self, name: &str, address: &str, storage: &Path) -> serde_json::Value {
        fs::create_dir_all(storage).unwrap();
        json!({
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": storage}},
            "http": {"addr": address, "secret": "benchmark", "tls": {
                "certificate": self.dir.join(format!("{name}.pem")),
                "key": self.dir.join(format!("{name}.key")),
            }},
        })
    }

    fn start(
        &self,
        mut command: Command,
        name: &str,
        config: &serde_json::Value,
        address: &str,
    ) -> Registry {
        // JSON is YAML too.
        let file = self.dir.join(format!("{name}.yml"));
        fs::write(&file, config.to_string()).unwrap();
        let log = fs::File::create(self.dir.join(format!("{name}.log"))).unwrap();
        let process = command
            .arg("serve")
            .arg(&file)
            .env("SSL_CERT_FILE", self.authority())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let address: std::net::SocketAddr = address.parse().unwrap();
        wait_for(
            &format!("{name}, see its log in {}", self.dir.display()),
            || TcpStream::connect(address).ok(),
        );
        Registry { process }
    }
}
