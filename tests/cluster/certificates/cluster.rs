//! A cluster with Slipway's webhook configuration, and replicas of Slipway.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use serde_json::{Value, json};
use slipway::{
    certificates::{Mode, Options, Rotation, RotationError},
    tls::ServingCertificate,
};
use slipway_testkit::api_server::ApiServer;

pub const SECRETS: &str = "/api/v1/namespaces/slipway-system/secrets";
pub const SECRET: &str = "/api/v1/namespaces/slipway-system/secrets/slipway-tls";
pub const WEBHOOKS: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/slipway";
pub const HOST: &str = "slipway.slipway-system.svc";
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(60 * 60);
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the time at which the tests start.
pub fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub fn options() -> Options {
    Options {
        mode: Mode::Own,
        namespace: "slipway-system".to_owned(),
        service: "slipway".to_owned(),
        secret: "slipway-tls".to_owned(),
        webhook_configuration: "slipway".to_owned(),
        directory: PathBuf::new(),
    }
}

/// Returns the configuration as Helm creates it: without a caBundle, and with unknown fields.
pub fn webhook_configuration() -> Value {
    let webhook = |name: &str| {
        json!({
            "name": name,
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "aFieldOfTomorrow": {"kept": true},
            "clientConfig": {"service": {"name": "slipway", "namespace": "slipway-system", "path": "/mutate"}},
        })
    };
    json!({"webhooks": [webhook("pods.slipway.io"), webhook("more.slipway.io")]})
}

pub fn cluster() -> ApiServer {
    let server = ApiServer::start();
    server.set(WEBHOOKS, webhook_configuration());
    server
}

/// A replica.
pub struct Replica {
    pub rotation: Rotation,
    pub serving: Arc<ServingCertificate>,
}

impl Replica {
    pub fn new(server: &ApiServer, name: &str) -> Self {
        let serving = Arc::<ServingCertificate>::default();
        let rotation = Rotation::new(options(), server.client(name), Arc::clone(&serving));
        Self { rotation, serving }
    }

    pub async fn lead(&mut self, now: SystemTime) -> Result<(), RotationError> {
        self.rotation.reconcile(true, now).await
    }

    pub async fn follow(&mut self, now: SystemTime) -> Result<(), RotationError> {
        self.rotation.reconcile(false, now).await
    }

    pub fn leaf(&self) -> CertificateDer<'static> {
        self.serving.chain().unwrap().remove(0)
    }
}

/// Starts a cluster whose leader has just made all certificates.
pub async fn installed() -> (ApiServer, Replica) {
    let server = cluster();
    let mut leader = Replica::new(&server, "leader");
    leader.lead(start()).await.unwrap();
    assert_eq!(leader.serving.not_ready_because(), None);
    (server, leader)
}

/// Returns the caBundle of the webhook configuration, the same in both webhooks.
pub fn bundle(server: &ApiServer) -> Vec<u8> {
    let configuration = server.object(WEBHOOKS).unwrap();
    let of = |index: usize| {
        let bundle = &configuration["webhooks"][index]["clientConfig"]["caBundle"];
        STANDARD
            .decode(bundle.as_str().unwrap_or_default())
            .unwrap()
    };
    assert_eq!(of(0), of(1));
    of(0)
}

/// Returns a value of the Secret.
pub fn stored(server: &ApiServer, key: &str) -> Vec<u8> {
    let secret = server.object(SECRET).unwrap();
    STANDARD
        .decode(secret["data"][key].as_str().unwrap())
        .unwrap()
}

/// Counts the CAs of a bundle.
pub fn cas(bundle: &[u8]) -> usize {
    CertificateDer::pem_slice_iter(bundle)
        .map(Result::unwrap)
        .count()
}

/// Returns whether a client that trusts this bundle accepts this certificate, as the API server would.
pub fn accepts(bundle: &[u8], leaf: &CertificateDer<'static>, now: SystemTime) -> bool {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(bundle) {
        roots.add(ca.unwrap()).unwrap();
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap());
    verifier
        .verify_server_cert(leaf, &[], &name, &[], now)
        .is_ok()
}
