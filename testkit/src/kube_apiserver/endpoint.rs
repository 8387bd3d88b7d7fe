//! A webhook endpoint in the test itself.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{Router, body::Bytes, routing::post};
use axum_server::tls_rustls::RustlsConfig;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{free_port, pki::Authority};

/// An HTTPS server, stopped when this is dropped.
pub struct Endpoint {
    address: SocketAddr,
    ca: String,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Starts the server; `answer` turns the bytes of a review into those of the answer.
    pub fn start(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let authority = Authority::new();
        let answer = Arc::new(answer);
        let routes = Router::new().route(
            "/",
            post(async move |body: Bytes| ([("content-type", "application/json")], answer(&body))),
        );
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let server = axum_server::from_tcp_rustls(listener, tls(&authority)).unwrap();
        let task = tokio::spawn(async move {
            server.serve(routes.into_make_service()).await.unwrap();
        });
        Self {
            address,
            ca: authority.pem,
            task,
        }
    }

    /// Returns the `clientConfig` for a webhook configuration.
    pub fn client_config(&self) -> Value {
        client_config(&format!("https://{}/", self.address), &self.ca)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the `clientConfig` with which the API server reaches a webhook by URL.
pub fn client_config(url: &str, ca_pem: &str) -> Value {
    json!({"url": url, "caBundle": super::base64(ca_pem)})
}

fn tls(authority: &Authority) -> RustlsConfig {
    let pair = authority.server();
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    RustlsConfig::from_config(Arc::new(config))
}
