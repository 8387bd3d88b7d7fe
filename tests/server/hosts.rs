//! The names by which the metrics port answers.

use hyper::{Request, StatusCode};
use slipway::server::{Hosts, Server};
use slipway_testkit::{
    client::{Reply, send_plain},
    served::{self, Served},
};

use crate::reviews::serve;

async fn ask(server: &Served, method: &str, path: &str, host: &str) -> Reply {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", host).body("a".into()).unwrap();
    send_plain(server.metrics, request).await
}

#[tokio::test]
async fn a_page_whose_name_resolves_to_a_replica_reads_nothing() {
    let server = serve();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/status"),
        ("GET", "/explain"),
        ("POST", "/explain"),
        ("GET", "/metrics"),
        ("GET", "/readyz"),
        ("GET", "/no-such-path"),
    ] {
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "",
        ] {
            let reply = ask(&server, method, path, host).await;
            let status = StatusCode::MISDIRECTED_REQUEST;
            assert_eq!(reply.status, status, "{method} {path} of {host}");
            assert!(reply.body.contains("--metrics-host"), "{reply:?}");
            assert_eq!(reply.body.lines().count(), 1, "{reply:?}");
        }
    }
    let target = format!("http://evil.example:{}/status", server.metrics.port());
    let reply = ask(&server, "GET", &target, "localhost").await;
    assert_eq!(reply.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn addresses_and_localhost_are_answered_and_other_names_if_they_are_given() {
    let (config, ca_pem) = served::config();
    let hosts = Hosts::new(["slipway.corp.example".to_owned()]);
    let hosts = hosts.with_service("slipway", "slipway-system", "");
    let bound = Server::bind(config).unwrap().reached_as(hosts);
    let server = Served {
        address: bound.address(),
        metrics: bound.metrics_address(),
        ca_pem,
    };
    tokio::spawn(bound.run());
    for host in [
        &*server.metrics.to_string(),
        "[::1]:8080",
        "localhost:8080",
        "slipway.slipway-system.svc:8080",
        "slipway.slipway-system.svc.cluster.local",
        "slipway.corp.example",
    ] {
        let reply = ask(&server, "GET", "/status", host).await;
        assert_eq!(reply.status, StatusCode::OK, "{host}: {reply:?}");
    }
    let other = ask(&server, "GET", "/status", "slipway.other.svc").await;
    assert_eq!(other.status, StatusCode::MISDIRECTED_REQUEST);
}
