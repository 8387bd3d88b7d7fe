//! `slipway cache` with a kubeconfig, as people run it.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use slipway_testkit::api_server::{ApiServer, Verb};

use super::cluster::{CLAIMS, PODS, set_claim};

const POLICY: &str = "/api/v1/namespaces/slipway-system/configmaps/slipway-policy";

struct Output {
    code: i32,
    out: String,
    err: String,
}

impl Output {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}{}", self.out, self.err))
    }
}

/// Runs `slipway cache` with a kubeconfig whose context has the namespace `ci`.
async fn run(server: &ApiServer, args: &[&str]) -> Output {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("slipway-cache-{}-{number}", std::process::id());
    let kubeconfig = std::env::temp_dir().join(name);
    let url = format!("http://{}", server.address());
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": "person"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "ci"}}],
    });
    fs::write(&kubeconfig, text.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command
        .arg("cache")
        .args(args)
        .arg("--kubeconfig")
        .arg(&kubeconfig);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SLIPWAY_")) {
        command.env_remove(name);
    }
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    fs::remove_file(kubeconfig).unwrap();
    Output {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Starts a cluster with a policy, under which `ci` has a claim pool and `slots` has node slots.
fn cluster() -> ApiServer {
    let server = ApiServer::start();
    let labels = |labels: Value| json!({"metadata": {"labels": labels}});
    let enabled = labels(json!({"slipway.io/inject": "enabled"}));
    for namespace in ["ci", "slots"] {
        server.set(&format!("/api/v1/namespaces/{namespace}"), enabled.clone());
    }
    server.set("/api/v1/namespaces/other", json!({}));
    let policy = "{profiles: {fast: {dind: {cache: {type: pool, claims: 4}}}}, namespaces: [{names: [ci], profile: fast}]}";
    let mut map = labels(json!({"app.kubernetes.io/part-of": "slipway"}));
    map["data"] = json!({"policy.yaml": policy});
    server.set(POLICY, map);
    server
}

fn used(leases: u64, warm: u64) -> Value {
    json!({
        "slipway.io/cache-key": "arc-build",
        "slipway.io/leases": leases.to_string(),
        "slipway.io/warm-leases": warm.to_string(),
        "slipway.io/last-used": "2020-01-01T00:00:00Z",
    })
}

fn leased(lease: &str) -> Value {
    let mut annotations = used(4, 3);
    annotations["slipway.io/lease"] = json!(lease);
    annotations["slipway.io/lease-pod"] = json!("runner-*");
    annotations
}

fn set_pod(server: &ApiServer, name: &str, lease: &str, claim: &str, phase: &str) {
    server.set(
        &format!("{PODS}/{name}"),
        json!({
            "metadata": {"labels": {"slipway.io/lease": lease}},
            "spec": {"volumes": [{"name": "c", "persistentVolumeClaim": {"claimName": claim}}]},
            "status": {"phase": phase},
        }),
    );
}

fn annotations(server: &ApiServer, index: usize) -> Option<Value> {
    let claim = server.object(&format!("{CLAIMS}/slipway-fast-{index}"))?;
    Some(claim["metadata"]["annotations"].clone())
}

fn writes(server: &ApiServer) -> usize {
    let is_write = |verb| !matches!(verb, Verb::Get | Verb::List | Verb::Watch);
    server
        .calls()
        .iter()
        .filter(|call| is_write(call.verb))
        .count()
}

#[tokio::test]
async fn claims_and_slots_are_listed_with_their_pods() {
    let server = cluster();
    set_claim(&server, 0, &leased("r1"));
    set_claim(&server, 1, &used(1, 0));
    set_claim(&server, 2, &json!({}));
    set_claim(&server, 3, &leased("r4"));
    set_pod(&server, "runner-x", "r1", "slipway-fast-0", "Running");
    set_pod(&server, "runner-old", "r0", "slipway-fast-1", "Succeeded");
    let slots = "/var/lib/slipway/slots/arc-web";
    server.set(
        "/api/v1/namespaces/slots/pods/web-1",
        json!({"spec": {"volumes": [{"name": "s", "hostPath": {"path": slots}}]}}),
    );
    let output = run(&server, &[]).await;
    assert_eq!(
        (output.code, output.err.as_str()),
        (0, ""),
        "{}",
        output.out
    );
    // The age of the last use depends on the current date.
    let years = output.out.split_whitespace().find(|word| {
        word.strip_suffix('d')
            .is_some_and(|days| days.parse::<u32>().is_ok())
    });
    assert!(years.is_some_and(|days| days.len() == 5), "{}", output.out);
    assert_eq!(
        output.out.replace(years.unwrap(), "2000d"),
        "\
NAMESPACE  POOL  CLAIMS  OF  LEASED  FREE  BLANK  LEASES  WARM
ci         fast  4       4   2       1     1      9       67 %

NAMESPACE  CLAIM           STATE   POD         CACHE KEY  LAST USED  LEASES  WARM  SIZE
ci         slipway-fast-0  leased  runner-x    arc-build  2000d      4       75 %  50Gi
ci         slipway-fast-1  free    -           arc-build  2000d      1       0 %   50Gi
ci         slipway-fast-2  blank   -           -          -          0       -     50Gi
ci         slipway-fast-3  leased  (runner-*)  arc-build  2000d      4       75 %  50Gi

NAMESPACE  PROFILE  NODE SLOTS BELOW  A KEY  BUDGET  PODS  KEYS
slots      default  /var/lib/slipway  4      10G     1     arc-web

no problems
"
    );
    assert_eq!(writes(&server), 0);
}

#[tokio::test]
async fn the_list_is_available_as_json() {
    let server = cluster();
    set_claim(&server, 0, &leased("r1"));
    set_pod(&server, "runner-x", "r1", "slipway-fast-0", "Running");
    let report = run(&server, &["list", "-o", "json"]).await.json();
    let pool = json!({"namespace": "ci", "profile": "fast", "size": 4, "claims": 1, "leased": 1,
        "free": 0, "blank": 0, "terminating": 0,
        "hits": {"leases": 4, "warmLeases": 3, "ratio": 0.75}});
    assert_eq!(report["pools"], json!([pool]));
    let claim = &report["claims"][0];
    assert_eq!(claim["pods"], json!(["runner-x"]));
    assert_eq!(claim["lastUsed"], "2020-01-01T00:00:00Z");
    assert_eq!(claim["state"], "leased");
    let slots = &report["nodeSlots"][0];
    assert_eq!(
        (&slots["namespace"], &slots["slots"]),
        (&json!("slots"), &json!(4))
    );
    assert_eq!(report["problems"], json!([]));
}

#[tokio::test]
async fn one_namespace_is_listed_without_the_others() {
    let server = cluster();
    set_claim(&server, 0, &json!({}));
    let report = run(&server, &["-n", "slots", "-o", "json"]).await.json();
    assert_eq!(report["claims"], json!([]));
    assert_eq!(report["pools"], json!([]));
    assert_eq!(report["nodeSlots"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_claim_with_two_pods_is_an_error_and_one_without_a_lease_a_warning() {
    let server = cluster();
    set_claim(&server, 0, &leased("r1"));
    set_claim(&server, 1, &used(1, 0));
    set_pod(&server, "a", "r1", "slipway-fast-0", "Running");
    set_pod(&server, "b", "other", "slipway-fast-0", "Pending");
    set_pod(&server, "c", "other", "slipway-fast-1", "Running");
    let output = run(&server, &[]).await;
    assert_eq!(output.code, 1);
    for line in [
        "error    claim ci/slipway-fast-0: pods a, b use it at once",
        "warning  claim ci/slipway-fast-1: pod c uses it without a lease",
    ] {
        assert!(output.out.contains(line), "{}", output.out);
    }
}

#[tokio::test]
async fn unreadable_objects_are_reported_and_the_rest_is_listed() {
    let server = cluster();
    set_claim(&server, 0, &leased("r1"));
    for path in [
        POLICY.rsplit_once('/').unwrap().0,
        PODS,
        "/api/v1/namespaces/slots/pods",
    ] {
        server.when(Verb::List, path).always().answer(403);
    }
    let output = run(&server, &[]).await;
    assert_eq!(output.code, 0, "{}{}", output.out, output.err);
    assert!(
        output.out.contains("slipway-fast-0  leased  (runner-*)"),
        "{}",
        output.out
    );
    for about in ["policy", "pods of ci"] {
        let line = format!("warning  {about}: not read: ");
        assert!(output.out.contains(&line), "{}", output.out);
    }
    server
        .when(Verb::List, "/api/v1/persistentvolumeclaims")
        .always()
        .answer(403);
    let output = run(&server, &[]).await;
    assert_eq!((output.code, output.out.as_str()), (1, ""));
    let message = "error: failed to list the claims of pools: ";
    assert!(output.err.starts_with(message), "{}", output.err);
}

#[tokio::test]
async fn a_claim_that_a_live_pod_uses_is_left_alone() {
    for command in ["release", "evict"] {
        let server = cluster();
        set_claim(&server, 0, &leased("r1"));
        set_claim(&server, 1, &leased("r2"));
        set_pod(&server, "leased", "r1", "slipway-fast-0", "Pending");
        set_pod(&server, "by-name", "another", "slipway-fast-1", "Running");
        let args = [command, "slipway-fast-0", "slipway-fast-1", "--wait=0s"];
        let output = run(&server, &args).await;
        assert_eq!(output.code, 3, "{}{}", output.out, output.err);
        for line in [
            "ci/slipway-fast-0: left alone: pod leased uses it",
            "ci/slipway-fast-1: left alone: pod by-name uses it",
        ] {
            assert!(output.out.contains(line), "{}", output.out);
        }
        assert_eq!(writes(&server), 0, "{command}");
    }
}

#[tokio::test]
async fn a_pod_that_only_names_a_lease_does_not_use_its_claim() {
    let server = cluster();
    set_claim(&server, 0, &leased("r1"));
    set_pod(&server, "p", "r1", "another", "Running");
    let output = run(&server, &["release", "slipway-fast-0", "--wait=0s"]).await;
    assert_eq!(output.code, 0, "{}{}", output.out, output.err);
    assert!(
        output.out.contains("ci/slipway-fast-0: released\n"),
        "{}",
        output.out
    );
}

#[tokio::test]
async fn a_lease_whose_pod_has_ended_is_released_at_once() {
    let server = cluster();
    set_claim(&server, 0, &leased("r1"));
    set_pod(&server, "runner-x", "r1", "slipway-fast-0", "Succeeded");
    // No wait is needed. The default wait would make this test take a minute.
    let output = run(&server, &["release", "slipway-fast-0"]).await;
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    assert_eq!(output.out, "ci/slipway-fast-0: released\n");
    let annotations = annotations(&server, 0).unwrap();
    assert_eq!(annotations["slipway.io/lease"], json!(null));
    assert_eq!(
        annotations["slipway.io/cache-key"], "arc-build",
        "the claim keeps its layers"
    );
    let again = run(&server, &["release", "slipway-fast-0"]).await;
    assert_eq!(
        (again.code, again.out.as_str()),
        (0, "ci/slipway-fast-0: has no lease\n")
    );
}

#[tokio::test]
async fn a_pod_that_appears_while_a_release_waits_keeps_its_claim() {
    let server = cluster();
    set_claim(&server, 0, &leased("r1"));
    // The list before the wait shows no pod, the one after it does.
    server.when(Verb::List, PODS).run(|_| {});
    let appears = |server: &ApiServer| set_pod(server, "late", "r1", "slipway-fast-0", "Pending");
    server.when(Verb::List, PODS).run(appears);
    let output = run(&server, &["release", "slipway-fast-0", "--wait=1ms"]).await;
    assert!(output.err.contains("waiting"), "{}", output.err);
    assert_eq!(output.code, 3, "{}", output.out);
    assert_eq!(annotations(&server, 0).unwrap()["slipway.io/lease"], "r1");
}

#[tokio::test]
async fn a_lease_whose_pod_never_appears_is_released_after_the_wait() {
    let server = cluster();
    set_claim(&server, 0, &leased("r1"));
    let output = run(&server, &["release", "slipway-fast-0", "--wait=1ms"]).await;
    assert_eq!(output.out, "ci/slipway-fast-0: released\n");
    assert_eq!(output.code, 0);
    let lists = server.calls().into_iter().filter(|call| call.path == PODS);
    assert_eq!(
        lists.count(),
        2,
        "pods are listed before and after the wait"
    );
}

#[tokio::test]
async fn a_claim_that_is_leased_in_the_meantime_is_neither_released_nor_evicted() {
    for (command, verb) in [("release", Verb::Patch), ("evict", Verb::Delete)] {
        let server = cluster();
        set_claim(&server, 0, &leased("r1"));
        set_pod(&server, "runner-x", "r1", "slipway-fast-0", "Failed");
        server.when(verb, CLAIMS).run(|server| {
            server.edit(&format!("{CLAIMS}/slipway-fast-0"), |claim| {
                claim["metadata"]["annotations"]["slipway.io/lease"] = json!("r2");
            });
        });
        let output = run(&server, &[command, "slipway-fast-0"]).await;
        assert_eq!(output.code, 1, "{}", output.out);
        assert!(
            output.out.contains("changed in the meantime"),
            "{}",
            output.out
        );
        assert_eq!(
            annotations(&server, 0).unwrap()["slipway.io/lease"],
            "r2",
            "{command}"
        );
    }
}

#[tokio::test]
async fn force_takes_a_claim_from_a_live_pod() {
    let server = cluster();
    for index in 0..2 {
        set_claim(&server, index, &leased(&format!("r{index}")));
        let claim = format!("slipway-fast-{index}");
        set_pod(
            &server,
            &format!("p{index}"),
            &format!("r{index}"),
            &claim,
            "Running",
        );
    }
    let released = run(&server, &["release", "--force", "slipway-fast-0"]).await;
    assert_eq!(released.out, "ci/slipway-fast-0: released\n");
    assert_eq!(
        annotations(&server, 0).unwrap()["slipway.io/lease"],
        json!(null)
    );
    let evicted = run(&server, &["evict", "--force", "slipway-fast-1"]).await;
    assert_eq!(evicted.out, "ci/slipway-fast-1: evicted\n");
    assert_eq!(annotations(&server, 1), None);
}

#[tokio::test]
async fn all_claims_of_a_key_are_evicted_and_no_others() {
    let server = cluster();
    set_claim(&server, 0, &used(1, 0));
    set_claim(
        &server,
        1,
        &json!({"slipway.io/cache-key": "arc-other", "slipway.io/leases": "1"}),
    );
    set_claim(&server, 2, &used(2, 1));
    set_claim(&server, 3, &json!({}));
    let output = run(&server, &["evict", "--key=arc-build", "-o", "json"]).await;
    assert_eq!(output.code, 0, "{}{}", output.out, output.err);
    let line = |claim| json!({"namespace": "ci", "claim": claim, "outcome": "evicted"});
    let lines = json!({"claims": [line("slipway-fast-0"), line("slipway-fast-2")]});
    assert_eq!(output.json(), lines);
    let left = [0, 1, 2, 3].map(|index| annotations(&server, index).is_some());
    assert_eq!(left, [false, true, false, true]);
}

#[tokio::test]
async fn a_missing_claim_and_one_outside_a_pool_are_errors() {
    let server = cluster();
    server.set(&format!("{CLAIMS}/mine"), json!({"spec": {}}));
    let output = run(&server, &["evict", "--force", "absent", "mine"]).await;
    assert_eq!(output.code, 1);
    let lines: Vec<&str> = output.out.lines().collect();
    assert_eq!(lines[0], "ci/absent: failed: there is no such claim");
    assert!(
        lines[1].starts_with("ci/mine: failed: it does not belong to a cache pool"),
        "{}",
        output.out
    );
    assert!(server.object(&format!("{CLAIMS}/mine")).is_some());
    let nothing = run(&server, &["evict"]).await;
    assert_eq!((nothing.code, nothing.out.as_str()), (2, ""));
    assert!(nothing.err.contains("no claims given"), "{}", nothing.err);
}
