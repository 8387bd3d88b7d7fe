//! A client that keeps what typed clients drop: unknown fields, warnings, statuses.

use std::path::Path;

use http_body_util::BodyExt;
use hyper::Request;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;

/// A user's client of the API server.
#[derive(Clone)]
pub struct Api(Client);

/// An answer of the API server.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The object, or a Status.
    pub body: Value,
    /// The texts that `kubectl` prints as `Warning: …`.
    pub warnings: Vec<String>,
    /// The ID of its event in the audit log.
    pub audit_id: String,
}

impl Reply {
    /// Returns whether the request succeeded.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The object.
    ///
    /// # Panics
    /// If the request failed, with the API server's message.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.is_ok(), "{}: {}", self.status, self.message());
        self.body
    }

    /// Returns the message of a Status; otherwise the whole answer.
    pub fn message(&self) -> String {
        let message = self.body["message"].as_str();
        message.map_or_else(|| self.body.to_string(), str::to_owned)
    }
}

impl Api {
    /// Creates a client for the user of a kubeconfig, for the current runtime. It does not retry.
    pub async fn of_kubeconfig(path: &Path) -> Self {
        let kubeconfig = Kubeconfig::read_from(path).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.unwrap();
        config.default_retry = false;
        Self(Client::try_from(config).unwrap())
    }

    /// Sends a request. An answer with any status is `Ok`.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, kube::Error> {
        let content_type = match (method, body) {
            ("PATCH", Some(Value::Array(_))) => "application/json-patch+json",
            ("PATCH", _) => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(Body::from(body.into_bytes()))
            .unwrap();
        let response = self.0.send(request).await?;
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings
            .map(|value| text_of_warning(value.to_str().unwrap()))
            .collect();
        let audit_id = response.headers().get("audit-id");
        let audit_id = audit_id.map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        // Some answers are plain text: those of /readyz and of timeouts.
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
        Ok(Reply {
            status,
            body,
            warnings,
            audit_id: audit_id.unwrap_or_default(),
        })
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, Some(body)).await.unwrap()
    }

    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, Some(body)).await.unwrap()
    }

    /// Sends a JSON patch, a list of operations.
    pub async fn patch(&self, path: &str, operations: &Value) -> Reply {
        assert!(operations.is_array());
        self.send("PATCH", path, Some(operations)).await.unwrap()
    }

    pub async fn merge(&self, path: &str, body: &Value) -> Reply {
        self.send("PATCH", path, Some(body)).await.unwrap()
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, None).await.unwrap()
    }
}

/// Parses `299 - "text"`, the format of RFC 7234.
fn text_of_warning(header: &str) -> String {
    let quoted = header.split_once('"').map_or(header, |(_, rest)| rest);
    quoted.trim_end_matches('"').replace("\\\"", "\"")
}
