//! Limits and security of the status page.

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::StatusCode;
use serde_json::json;
use sha2::{Digest, Sha256};
use slipway::server::Server;
use slipway_testkit::{client::within, harness::Test, tests};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::replica::{Replica, cluster_state, read};

const POD: &str = "kind: Pod\nmetadata: {name: p}\nspec: {containers: []}\n";

async fn every_response_forbids_scripts_frames_and_caching() {
    let replica = Replica::start();
    let replies = [
        replica.get("/").await,
        replica.get("/status").await,
        replica.get("/explain").await,
        replica.get("/explain?example=gitlab").await,
        replica.explain(POD).await,
        replica.explain("{").await,
        replica.submit("{", "").await,
        replica.submit(POD, "").await,
    ];
    for reply in replies {
        let header = |name: &str| reply.headers[name].to_str().unwrap();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("script-src"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
    }
    replica.end().await;
}

async fn the_security_policy_admits_only_the_style_in_the_page() {
    let replica = Replica::start();
    for page in [replica.get("/").await, replica.submit(POD, "ci").await] {
        let (_, rest) = page.body.split_once("<style>").unwrap();
        let (style, _) = rest.split_once("</style>").unwrap();
        let hash = format!("'sha256-{}'", STANDARD.encode(Sha256::digest(style)));
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains(&hash), "{policy}");
        assert!(!page.body.contains("<script") && !page.body.contains(" style="));
        for address in ["src=\"", "url(", "@import", "href=\"http"] {
            assert!(!page.body.contains(address), "{address}");
        }
    }
    replica.end().await;
}

async fn the_webhook_port_has_no_status_page() {
    let replica = Replica::start();
    for path in ["/", "/status", "/explain"] {
        assert_eq!(
            replica.get_from_webhook(path).await.status,
            StatusCode::NOT_FOUND
        );
    }
    replica.end().await;
}

async fn the_page_can_be_disabled_without_the_metrics() {
    let replica = Replica::start_as(cluster_state(), |_| {}, Server::without_status_page);
    for path in ["/", "/status", "/explain"] {
        assert_eq!(replica.get(path).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(replica.explain(POD).await.status, StatusCode::NOT_FOUND);
    assert_eq!(replica.get("/metrics").await.status, 200);
    replica.end().await;
}

async fn an_explained_manifest_leaves_no_trace() {
    let replica = Replica::start();
    let before = replica.get("/status").await.json();
    let pod = read("examples/pods/scale-set-dind.yaml");
    assert_eq!(replica.explain(&pod).await.status, 200);
    assert_eq!(replica.submit(&pod, "").await.status, 200);
    let mut after = replica.get("/status").await.json();
    after["time"] = before["time"].clone();
    after["certificate"] = before["certificate"].clone();
    assert_eq!(after, before);
    let metrics = replica.get("/metrics").await.body;
    assert!(
        !metrics.contains("slipway_admission_requests_total{"),
        "{metrics}"
    );
    replica.end().await;
}

async fn other_methods_are_refused() {
    let replica = Replica::start();
    for path in ["/", "/status"] {
        let reply = replica.post(path, "application/json", "{}").await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    replica.end().await;
}

async fn an_unusable_manifest_is_refused_with_a_message_that_says_where() {
    let replica = Replica::start();
    let many = format!("---\n{POD}").repeat(51);
    // Each level doubles: 2^40 scalars if fully expanded.
    let doubled = |i| format!("a{}: &a{} [*a{i}, *a{i}]\n", i + 1, i + 1);
    let bomb = (0..40).map(doubled).collect::<Vec<_>>().concat();
    for (manifest, sentence) in [
        ("kind: Pod\nspec:\n  containers: 7\n".to_owned(), "line 3"),
        ("{".to_owned(), "expected"),
        ("# nothing\n".to_owned(), "the manifest contains no pods"),
        (
            "kind: Service\napiVersion: v1\n".to_owned(),
            "the manifest contains no pods",
        ),
        (many, "51 pods; the limit is 50"),
        (format!("a0: &a0 x\n{bomb}"), "line"),
        ("[".repeat(100_000), "line"),
    ] {
        let reply = replica.explain(&manifest).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.body);
        assert!(reply.body.contains(sentence), "{}", reply.body);
        assert!(reply.body.len() < 1024, "{}", reply.body);
        let page = replica.submit(&manifest, "").await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert!(page.body.contains("role=\"alert\""));
    }
    let reply = replica
        .post("/explain", "application/yaml", vec![0xff])
        .await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    replica.end().await;
}

async fn a_body_that_is_too_large_is_drained_and_refused() {
    let replica = Replica::start();
    for size in [3 << 20, 12 << 20] {
        let reply = replica.explain(&"#".repeat(size)).await;
        assert_eq!(
            reply.status,
            StatusCode::PAYLOAD_TOO_LARGE,
            "{}",
            reply.body
        );
    }
    replica.end().await;
}

async fn a_slow_client_does_not_block_the_next_one() {
    let replica = Replica::start_with(cluster_state(), |config| {
        config.request_timeout = std::time::Duration::from_millis(300);
    });
    let mut slow = TcpStream::connect(replica.page).await.unwrap();
    slow.write_all(b"POST /explain HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nkind")
        .await
        .unwrap();
    let mut answer = vec![0; 12];
    within(slow.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    assert_eq!(replica.explain(POD).await.status, 200);
    replica.end().await;
}

async fn pages_and_metrics_are_answered_while_a_manifest_is_explained() {
    let replica = Replica::start();
    let mut pending = TcpStream::connect(replica.page).await.unwrap();
    let head = format!(
        "POST /explain HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        POD.len()
    );
    pending.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body once no other manifest is being explained.
    let mut asked = [0; 25];
    within(pending.read_exact(&mut asked)).await.unwrap();
    for path in ["/", "/status", "/explain", "/metrics", "/readyz"] {
        assert_eq!(replica.get(path).await.status, 200, "{path}");
    }
    pending.write_all(POD.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    within(pending.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
    replica.end().await;
}

async fn a_pod_in_an_unknown_namespace_gets_no_host_access() {
    let replica = Replica::start();
    let reply = replica
        .submit(&read("examples/pods/no-docker.yaml"), "elsewhere")
        .await;
    assert_eq!(reply.status, 200);
    assert!(!reply.body.contains("hostPath /"), "{}", reply.body);
    let reply = replica
        .post(
            "/explain?namespace=web",
            "application/yaml",
            read("examples/pods/no-docker.yaml"),
        )
        .await
        .json();
    assert_eq!(reply["pods"][0]["reason"]["code"], "namespace-not-enabled");
    assert_eq!(reply["diff"], json!(""));
    replica.end().await;
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        every_response_forbids_scripts_frames_and_caching,
        the_security_policy_admits_only_the_style_in_the_page,
        the_webhook_port_has_no_status_page,
        the_page_can_be_disabled_without_the_metrics,
        an_explained_manifest_leaves_no_trace,
        other_methods_are_refused,
        an_unusable_manifest_is_refused_with_a_message_that_says_where,
        a_body_that_is_too_large_is_drained_and_refused,
        a_slow_client_does_not_block_the_next_one,
        pages_and_metrics_are_answered_while_a_manifest_is_explained,
        a_pod_in_an_unknown_namespace_gets_no_host_access,
    ]
}
