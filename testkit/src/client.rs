//! An HTTPS client for servers on loopback: raw TLS connections, on which a test writes whatever it
//! wants, and complete requests on top of them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Version,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub const HTTP_1: &[u8] = b"http/1.1";
pub const HTTP_2: &[u8] = b"h2";
/// Fails a test that hangs; nothing is measured against it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A client that trusts one CA. By default it connects from 127.0.0.1, expects the name `localhost`,
/// offers HTTP/1.1 and has no certificate.
#[derive(Debug, Clone)]
pub struct TlsClient {
    server: SocketAddr,
    ca: CertificateDer<'static>,
    address: Ipv4Addr,
    name: ServerName<'static>,
    alpn: Option<Vec<u8>>,
    certificate: Option<(CertificateDer<'static>, Vec<u8>)>,
}

impl TlsClient {
    pub fn new(server: SocketAddr, ca_pem: &str) -> Self {
        Self {
            server,
            ca: CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap(),
            address: Ipv4Addr::LOCALHOST,
            name: ServerName::try_from("localhost").unwrap(),
            alpn: Some(HTTP_1.to_vec()),
            certificate: None,
        }
    }

    /// Connects from this loopback address.
    pub fn from_address(self, address: Ipv4Addr) -> Self {
        Self { address, ..self }
    }

    /// Expects this name in the server's certificate.
    pub fn expecting(self, name: &'static str) -> Self {
        let name = ServerName::try_from(name).unwrap();
        Self { name, ..self }
    }

    /// Offers this protocol by ALPN; `None` leaves the extension out.
    pub fn offering(self, protocol: Option<&[u8]>) -> Self {
        let alpn = protocol.map(<[u8]>::to_vec);
        Self { alpn, ..self }
    }

    /// Presents this client certificate, if any.
    pub fn presenting(self, certificate: Option<&CertifiedKey<KeyPair>>) -> Self {
        let certificate = certificate.map(|CertifiedKey { cert, signing_key }| {
            (cert.der().clone(), signing_key.serialize_der())
        });
        Self {
            certificate,
            ..self
        }
    }

    /// Returns a new TLS configuration. Connections do not share one, so none resumes the session of
    /// another: every handshake is complete.
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.certificate.clone() {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => config
                .with_client_auth_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.into()))
                .unwrap(),
        };
        config.alpn_protocols = self.alpn.iter().cloned().collect();
        Arc::new(config)
    }

    /// Opens a TCP connection, without a handshake.
    pub async fn tcp(&self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.address, 0).into())?;
        // Small writes would otherwise wait for acknowledgements.
        socket.set_nodelay(true)?;
        socket.connect(self.server).await
    }

    /// Opens a TLS connection, on which the caller writes what it wants.
    pub async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let tcp = self.tcp().await?;
        let connector = TlsConnector::from(self.config());
        connector.connect(self.name.clone(), tcp).await
    }

    /// Writes these bytes over HTTP/1.1. Returns everything that is answered until the server closes
    /// the connection, which may be before all is written.
    pub async fn answer(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        let mut answer = Vec::new();
        let _ = within(stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Begins a request to `/mutate` and waits until its handler asks for the body, which the caller
    /// sends or keeps back.
    pub async fn begin_mutate(&self, length: usize) -> TlsStream<TcpStream> {
        const CONTINUE: &[u8; 25] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut stream = self.connect().await.unwrap();
        let head = format!(
            "POST /mutate HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut asked = [0; CONTINUE.len()];
        within(stream.read_exact(&mut asked)).await.unwrap();
        assert_eq!(&asked, CONTINUE);
        stream
    }

    /// Opens a connection for complete requests over HTTP/1.1.
    pub async fn http1(&self) -> http1::SendRequest<Full<Bytes>> {
        let stream = self.connect().await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Opens a connection for complete requests over HTTP/2.
    pub async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        self.http2_as(&http2::Builder::new(TokioExecutor::new()))
            .await
    }

    /// Opens a connection for complete requests over HTTP/2, with the caller's settings.
    pub async fn http2_as(
        &self,
        builder: &http2::Builder<TokioExecutor>,
    ) -> http2::SendRequest<Full<Bytes>> {
        let client = self.clone().offering(Some(HTTP_2));
        let stream = within(client.connect()).await.unwrap();
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Sends one request over a new HTTP/1.1 connection.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        exchange(self.connect().await.unwrap(), request).await
    }
}

/// A complete response.
#[derive(Debug)]
pub struct Reply {
    pub version: Version,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    /// Reads a response to its end.
    pub async fn read(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let body = within(body.collect()).await.unwrap().to_bytes();
        Self {
            version: parts.version,
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// Parses the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Sends one request over a plain connection.
pub async fn send_plain(server: SocketAddr, request: Request<Full<Bytes>>) -> Reply {
    exchange(TcpStream::connect(server).await.unwrap(), request).await
}

/// Builds a GET request.
pub fn get(path: &str) -> Request<Full<Bytes>> {
    let request = Request::get(path).header("host", "localhost");
    request.body(Full::default()).unwrap()
}

/// Builds a POST request with a JSON body, for HTTP/1.1 and HTTP/2.
pub fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(format!("https://localhost{path}"))
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

/// Fails the test if the future takes longer than [`PATIENCE`].
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("the test hangs")
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Reply
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = within(sender.send_request(request)).await.unwrap();
    let reply = Reply::read(response).await;
    drop(sender);
    // The server may close first.
    let _ = connection.await;
    reply
}
