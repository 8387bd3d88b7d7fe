//! A watched cluster of 5,000 nodes: how long the server takes until it is ready, and its memory
//! before and after load.

use std::{fs, time::Duration};

use serde_json::json;
use slipway_testkit::{
    api_server::ApiServer, fleets, process::Server, table::Table, workspace::scratch,
};
use tokio::runtime::Runtime;

use super::{
    client::{Load, Protocol},
    megabytes,
};

const NODES: usize = 5_000;
/// The number of parts in which requests are sent; the memory after each is shown.
const PARTS: u64 = 4;
const REQUESTS_A_PART: u64 = 50_000;
/// How many heartbeats the nodes send per second during the load.
const HEARTBEATS_A_SECOND: u32 = 100;

/// Prints the duration of starts, and the memory with 5,000 nodes.
pub fn with_nodes(load: &Load) {
    let runtime = Runtime::new().unwrap();
    let cluster = runtime.block_on(async { cluster() });
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": format!("http://{}", cluster.address())}}],
        "users": [{"name": "bench", "user": {"token": "bench"}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
    });
    let file = scratch().join("kubeconfig");
    fs::write(&file, kubeconfig.to_string()).unwrap();
    let kubeconfig = format!("--kubeconfig={}", file.display());
    let server = Server::serve(&[&kubeconfig, "--probe-mirrors=false", "--pod-name=bench"]);

    let mut starts = Table::new(&["start", "ready after, ms"]);
    let standalone = Server::slipway(&[]).ready_after();
    starts.row([
        "--standalone".to_owned(),
        standalone.as_millis().to_string(),
    ]);
    let watching = server.ready_after().as_millis().to_string();
    starts.row([format!("{NODES} nodes to list"), watching]);
    starts.print("Start, on one processor");

    let beats = runtime.spawn(beat(cluster.clone()));
    let mut memory = Table::new(&["requests", "MB"]);
    memory.row(["0".to_owned(), megabytes(server.resident_kb())]);
    for part in 1..=PARTS {
        load.run(&server, Protocol::Http1, REQUESTS_A_PART);
        let requests = (part * REQUESTS_A_PART).to_string();
        memory.row([requests, megabytes(server.resident_kb())]);
    }
    beats.abort();
    memory.print(&format!(
        "Resident memory, {NODES} nodes watched with {HEARTBEATS_A_SECOND} heartbeats a second"
    ));
}

fn cluster() -> ApiServer {
    let server = ApiServer::start();
    for number in 0..NODES {
        let path = format!("/api/v1/nodes/{}", fleets::name(number));
        server.set(&path, fleets::full_object(number));
    }
    server.set(
        "/api/v1/namespaces/ci",
        json!({"metadata": {"labels": {"slipway.io/inject": "enabled"}}}),
    );
    server.set(
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/slipway",
        json!({"webhooks": [{"name": "inject.slipway.io", "clientConfig": {"url": "https://localhost/mutate"},
            "admissionReviewVersions": ["v1"], "sideEffects": "None"}]}),
    );
    server.compact();
    server
}

/// Sends heartbeats of the nodes, one after the other, forever.
async fn beat(cluster: ApiServer) {
    let mut clock = tokio::time::interval(Duration::from_secs(1) / HEARTBEATS_A_SECOND);
    for beat in 0.. {
        clock.tick().await;
        let path = format!("/api/v1/nodes/{}", fleets::name(beat % NODES));
        cluster.edit(&path, |node| {
            node["status"]["conditions"][3]["lastHeartbeatTime"] = json!(beat.to_string());
        });
        // Its history would otherwise grow forever.
        if beat % 1_000 == 999 {
            cluster.compact();
        }
    }
}
