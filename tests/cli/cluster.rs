//! The commands that query a cluster, run as people run them, with a kubeconfig for a scripted API
//! server.

use std::{fs, net::Ipv4Addr, path::PathBuf, process::Command, sync::atomic::AtomicUsize};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use slipway::tls::Identity;
use slipway_testkit::api_server::{ApiServer, Verb};

/// Writes a temporary file, and returns its path.
fn file(text: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("slipway-cluster-commands-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Writes a kubeconfig for the server.
fn kubeconfig(server: &ApiServer) -> PathBuf {
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", server.address())}}],
        "users": [{"name": "test", "user": {"token": "person"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    file(&text.to_string())
}

/// Runs a command. Returns its exit code, standard output and standard error.
async fn run(server: &ApiServer, args: &[&str]) -> (i32, String, String) {
    let kubeconfig = kubeconfig(server);
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.args(args).arg("--kubeconfig").arg(&kubeconfig);
    for name in [
        "NODES",
        "POLICY",
        "NAMESPACE",
        "OUTPUT",
        "WEBHOOK_CONFIGURATION",
        "NAMESPACES",
        "CLUSTER",
        "INSTALLED_IN",
    ] {
        command.env_remove(format!("SLIPWAY_{name}"));
    }
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    fs::remove_file(kubeconfig).unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn set_node(server: &ApiServer, name: &str, runtime: &str) {
    let info = json!({"containerRuntimeVersion": runtime, "kubeletVersion": "v1.36.2"});
    server.set(
        &format!("/api/v1/nodes/{name}"),
        json!({"status": {"nodeInfo": info}}),
    );
}

/// Starts a healthy cluster in which Slipway is installed.
fn healthy() -> ApiServer {
    let server = ApiServer::start();
    set_node(&server, "n1", "containerd://2.1.4");
    let enabled = json!({"metadata": {"labels": {"slipway.io/inject": "enabled"}}});
    server.set("/api/v1/namespaces/ci", enabled);
    server.set("/api/v1/namespaces/default", json!({}));
    let part_of = json!({"labels": {"app.kubernetes.io/part-of": "slipway"}});
    let policy = json!({"metadata": part_of, "data": {"policy.yaml": "profiles: {fast: {}}"}});
    server.set(
        "/api/v1/namespaces/slipway-system/configmaps/slipway-policy",
        policy,
    );
    let configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    let identity = Identity::generate(&[], Ipv4Addr::LOCALHOST.into()).unwrap();
    let service = json!({"name": "slipway", "namespace": "slipway-system"});
    server.set(
        &format!("{configurations}/slipway"),
        json!({"webhooks": [{
            "name": "inject.slipway.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"caBundle": STANDARD.encode(identity.ca_pem), "service": service},
            "failurePolicy": "Ignore", "timeoutSeconds": 5,
        }]}),
    );
    let of_service = json!({"labels": {"kubernetes.io/service-name": "slipway"}});
    let ready = json!({"addresses": ["10.0.0.1"], "conditions": {"ready": true}});
    let starting = json!({"addresses": ["10.0.0.2"], "conditions": {"ready": false}});
    server.set(
        "/apis/discovery.k8s.io/v1/namespaces/slipway-system/endpointslices/slipway-a",
        json!({"metadata": of_service, "addressType": "IPv4", "endpoints": [ready, starting]}),
    );
    server
}

#[tokio::test]
async fn nodes_are_listed_page_by_page() {
    let server = ApiServer::start();
    for i in 0..600 {
        set_node(&server, &format!("n{i}"), "containerd://2.1.4");
    }
    let (code, out, err) = run(&server, &["nodes", "-o", "json"]).await;
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["nodes"].as_array().unwrap().len(), 600);
    assert_eq!(report["nodes"][0]["runtime"], "containerd");
}

#[tokio::test]
async fn an_unknown_runtime_is_an_error_with_a_remedy() {
    let server = ApiServer::start();
    set_node(&server, "odd", "frob://1");
    let (code, out, _) = run(&server, &["nodes"]).await;
    assert_eq!(code, 1);
    assert!(
        out.contains("kubectl label node odd slipway.io/container-runtime="),
        "{out}"
    );
}

#[tokio::test]
async fn a_forbidden_list_of_nodes_is_an_error_with_a_remedy() {
    let server = ApiServer::start();
    server
        .when(Verb::List, "/api/v1/nodes")
        .always()
        .answer(403);
    let (code, out, err) = run(&server, &["nodes"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.starts_with("error: failed to list the nodes: "),
        "{err}"
    );
}

#[tokio::test]
async fn a_healthy_cluster_passes_the_check() {
    let (code, out, err) = run(&healthy(), &["check"]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(
        out,
        "\
cluster     Kubernetes v1.37.0
nodes       1: 1 with containerd
namespaces  1 of 2 have opted in: ci
policy      ConfigMap slipway-system/slipway-policy; profiles: default, fast
sockets     runner pods without a dockerd would get one in ci (containerd)
webhook     slipway; replicas: 1 ready

no problems
"
    );
}

#[tokio::test]
async fn the_check_says_what_is_broken_and_what_to_do() {
    let server = healthy();
    server.edit("/api/v1/namespaces/ci", |namespace| {
        namespace["metadata"]["labels"]["slipway.io/profile"] = json!("fsat");
    });
    server.remove("/apis/discovery.k8s.io/v1/namespaces/slipway-system/endpointslices/slipway-a");
    let (code, out, _) = run(&server, &["check", "-o", "json"]).await;
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&out).unwrap();
    let problems = report["problems"].as_array().unwrap();
    let about: Vec<&str> = problems
        .iter()
        .map(|p| p["about"].as_str().unwrap())
        .collect();
    assert_eq!(
        about,
        ["namespace ci", "MutatingWebhookConfiguration slipway"]
    );
    assert!(
        problems[0]["do"]
            .as_str()
            .unwrap()
            .contains("default, fast")
    );
}

#[tokio::test]
async fn the_check_says_what_it_may_not_read_and_continues() {
    let server = healthy();
    for path in [
        "/api/v1/namespaces/slipway-system/configmaps",
        "/api/v1/namespaces/ci/pods",
        "/api/v1/namespaces/ci/persistentvolumeclaims",
        "/apis/discovery.k8s.io",
    ] {
        server.when(Verb::List, path).always().answer(403);
    }
    let (code, out, _) = run(&server, &["check"]).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("policy      not read: "), "{out}");
    for kind in ["claims", "pods", "policy"] {
        assert!(
            out.contains(&format!("warning  {kind}: not checked")),
            "{out}"
        );
    }
    assert!(out.contains("replicas: not read: "), "{out}");
}

#[tokio::test]
async fn an_unreachable_cluster_is_an_error_that_names_it() {
    let server = healthy();
    server.stop().await;
    let (code, out, err) = run(&server, &["check"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("failed to ask the cluster's API server"),
        "{err}"
    );
}

/// Returns a runner without dockerd, as the API server stores it.
const STORED: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: build-x5qzn
  namespace: ci
  uid: 0b0e6ab1-8b5c-4dc4-9d2c-7c8e5b0d3f5e
  labels: {actions-ephemeral-runner: "True", actions.github.com/scale-set-name: build}
spec:
  nodeName: gone
  containers: [{name: runner, image: "ghcr.io/actions/actions-runner:2.328.0"}]
"#;

#[tokio::test]
async fn a_pod_is_explained_with_the_present_state_of_the_cluster() {
    let server = healthy();
    let path = file(STORED);
    let explain = [
        "explain",
        "--cluster",
        "-o",
        "json",
        "-f",
        path.to_str().unwrap(),
    ];
    let (code, out, err) = run(&server, &explain).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&out).unwrap();
    let pod = &report["pods"][0];
    // The cluster's present node, not the one on which the pod ran.
    assert_eq!(pod["nodes"]["candidates"], 1);
    assert_eq!(pod["nodes"]["known"], 1);
    assert_eq!(pod["strategy"], "containerd");
    // The installed policy and the namespaces apply.
    server.set("/api/v1/namespaces/ci", json!({}));
    let (_, out, _) = run(&server, &explain).await;
    assert!(out.contains("namespace-not-enabled"), "{out}");
    fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn files_replace_what_may_not_be_read_from_the_cluster() {
    let server = healthy();
    let refused = [
        ("nodes", "/api/v1/nodes", "examples/nodes/aks.yaml"),
        (
            "policy",
            "/api/v1/namespaces/slipway-system/configmaps",
            "examples/policies/everything.yaml",
        ),
    ];
    for (_, path, _) in refused {
        server.when(Verb::List, path).always().answer(403);
    }
    let path = file(STORED);
    let mut arguments = vec!["explain", "--cluster", "-f", path.to_str().unwrap()];
    for (what, _, file) in refused {
        let (code, _, err) = run(&server, &arguments).await;
        assert_eq!(code, 1);
        assert!(
            err.contains(&format!("failed to read the {what} of the cluster: ")),
            "{err}"
        );
        let option = match what {
            "nodes" => "--nodes",
            _ => "--policy",
        };
        assert!(
            err.contains(&format!("{option} reads a file instead")),
            "{err}"
        );
        arguments.extend([option, file]);
    }
    let (code, out, err) = run(&server, &arguments).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("Pod ci/build-x5qzn"), "{out}");
    fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn the_version_in_the_cluster_is_that_of_the_chart() {
    let server = healthy();
    let (code, out, err) = run(&server, &["version", "-o", "json"]).await;
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["cluster"], Value::Null);
    assert!(err.contains("has no label"), "{err}");
    server.set(
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/slipway",
        json!({"metadata": {"labels": {"app.kubernetes.io/version": "0.9.1"}}}),
    );
    let (code, out, err) = run(&server, &["version", "-o", "json"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["cluster"], "0.9.1");
    assert_eq!(report["client"], env!("CARGO_PKG_VERSION"));
    let other = ["version", "--webhook-configuration=other"];
    let (code, out, err) = run(&server, &other).await;
    assert_eq!(code, 0);
    assert!(out.ends_with("cluster  unavailable\n"), "{out}");
    assert!(err.contains("Slipway is not installed"), "{err}");
}
