//! Servers that do as little as a webhook can, with the same libraries as Slipway.

use std::{
    env,
    net::{SocketAddr, TcpStream},
    str::FromStr,
};

use axum::{
    Router,
    body::Bytes,
    http::header::{CONTENT_TYPE, HeaderName},
    routing,
};
use axum_server::{
    accept::NoDelayAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use slipway::tls::Identity;
use slipway_testkit::{
    process::{Server, free_port},
    yardstick::Review,
};

/// The first argument of a process that is a bare server.
pub const SERVE: &str = "--serve";

const ALLOWED: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"9d3b7a52-4c1e-4f86-8e0d-2a5c6b7d8e9f","allowed":true}}"#;

/// The work of a bare server.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Reads the body and answers a constant.
    Constant,
    /// Parses the body into borrowed types and answers a small patch with what it read.
    Borrowed,
}

impl Kind {
    /// Returns its name as an argument.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Borrowed => "borrowed",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = [Self::Constant, Self::Borrowed];
        let found = kinds.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("no bare server is called `{text}`"))
    }
}

/// Starts a bare server as a process.
pub fn start(kind: Kind) -> Server {
    let port = free_port();
    let program = env::current_exe().unwrap();
    let arguments = [SERVE, kind.name(), &port.to_string()].map(ToOwned::to_owned);
    Server::start(&program, &arguments, port, || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
}

/// Serves until the process is killed.
pub fn serve(kind: Kind, port: u16) {
    let router = match kind {
        Kind::Constant => Router::new().route("/mutate", routing::post(constant)),
        Kind::Borrowed => Router::new().route("/mutate", routing::post(borrowed)),
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let identity = Identity::generate(&[], address.ip()).unwrap();
    let tls = RustlsConfig::from_config(identity.serving.server_config(None).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // As in Slipway: otherwise a small answer over HTTP/2 waits for an acknowledgement.
    let acceptor = RustlsAcceptor::new(tls).acceptor(NoDelayAcceptor::new());
    let server = axum_server::bind(address).acceptor(acceptor);
    let server = server.serve(router.into_make_service());
    runtime.block_on(server).unwrap();
}

type Json<T> = ([(HeaderName, &'static str); 1], T);
const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];

async fn constant(_body: Bytes) -> Json<&'static str> {
    (JSON, ALLOWED)
}

async fn borrowed(body: Bytes) -> Json<Vec<u8>> {
    let review: Review<'_> = serde_json::from_slice(&body).unwrap();
    let patch = json!([{
        "op": "add",
        "path": "/metadata/annotations",
        "value": {"example.com/containers": review.request.object.spec.containers.len().to_string()},
    }]);
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review.request.uid,
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": STANDARD.encode(patch.to_string()),
        },
    });
    (JSON, serde_json::to_vec(&answer).unwrap())
}
