//! Metrics, rules and dashboard in a real Prometheus, on loopback, that scrapes a replica.

use std::{
    env, fs,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use slipway::cluster::state::ClusterState;
use slipway_core::cache::claims::Claims;
use slipway_testkit::{
    client::within,
    harness::{Outcome, Test},
    tests, tools,
};
use tokio::net::TcpStream;

use super::replica::{Replica, claim, cluster_state, example_pods, read};

const LABELS: &str = r#"job="slipway",namespace="slipway-system""#;

/// A Prometheus that scrapes one replica, stopped when it is dropped.
struct Prometheus {
    process: Child,
    port: u16,
    directory: PathBuf,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have stopped already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Prometheus {
    fn start(program: &Path, replica: &Replica) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("prometheus-{port}"));
        fs::create_dir_all(&directory).unwrap();
        let rules = read("charts/slipway/files/rules.yaml")
            .replace("SERVICE", LABELS)
            .replace(
                "DEPLOYMENT",
                r#"deployment="slipway",namespace="slipway-system""#,
            );
        fs::write(directory.join("rules.yaml"), rules).unwrap();
        let target = json!({"targets": [replica.page.to_string()], "labels": {"namespace": "slipway-system", "pod": "slipway-0"}});
        let config = json!({
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "slipway", "static_configs": [target]}],
        });
        fs::write(directory.join("prometheus.yaml"), config.to_string()).unwrap();
        let process = Command::new(program)
            .args([
                "--config.file=prometheus.yaml",
                "--storage.tsdb.path=data",
                "--log.level=warn",
            ])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(&directory)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self {
            process,
            port,
            directory,
        }
    }

    /// Returns the `data` of an answer of its API; `None` while it is starting.
    async fn ask(&self, path: &str) -> Option<Value> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "localhost");
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let response = sender.send_request(request).await.ok()?;
        let starting = response.status() == 503;
        let body = response.into_body().collect().await.ok()?.to_bytes();
        if starting {
            return None;
        }
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        Some(answer["data"].clone())
    }

    /// Returns the samples of a query.
    async fn query(&self, query: &str) -> Vec<Value> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let data = self.ask(&format!("/api/v1/query?query={query}")).await;
        let data = data.unwrap_or_default();
        data["result"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until a query returns samples.
    async fn until(&self, query: &str) {
        within(async {
            while self.query(query).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

/// ClusterState of which every metric has something to tell.
fn telling_state() -> ClusterState {
    let mut state = cluster_state();
    state.mirrors_probed = true;
    state.claims = Some(Claims::new([claim()]).into());
    state
}

async fn decide(replica: &Replica) {
    for file in example_pods() {
        let pod: Value = serde_saphyr::from_str(&read(&file)).unwrap();
        replica.admit("ci", &pod).await;
    }
}

async fn promtool_accepts_the_metrics() -> Outcome {
    let promtool = tools::need("promtool")?;
    let replica = Replica::start_with(telling_state(), |_| {});
    decide(&replica).await;
    let metrics = replica.get("/metrics").await;
    let content_type = metrics.headers["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("text/plain; version=0.0.4"));
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check
        .stdin
        .take()
        .unwrap()
        .write_all(metrics.body.as_bytes())
        .unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
    replica.end().await;
    Ok(())
}

async fn every_query_of_the_dashboard_and_every_rule_works_on_scraped_metrics() -> Outcome {
    let program = tools::need("prometheus")?;
    let replica = Replica::start_with(telling_state(), |_| {});
    let prometheus = Prometheus::start(&program, &replica);
    // Rates need two samples: every series must be scraped once before it changes.
    decide(&replica).await;
    let counted = "sum(slipway_admission_duration_seconds_count)";
    let pods = example_pods().len();
    prometheus.until(&format!("{counted} == {pods}")).await;
    decide(&replica).await;
    prometheus
        .until(&format!("{counted} == {}", 2 * pods))
        .await;
    prometheus
        .until("slipway:admission_requests:rate5m > 0")
        .await;
    prometheus
        .until("slipway:admission_duration_seconds:p99_5m > 0")
        .await;

    let dashboard: Value =
        serde_json::from_str(&read("charts/slipway/files/dashboard.json")).unwrap();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let written = target["expr"].as_str().unwrap();
            let query = written
                .replace("$job", "slipway")
                .replace("$namespace", ".*")
                .replace("$__rate_interval", "1m")
                .replace("$__range", "1m");
            assert!(!query.contains('$'), "{query}");
            let samples = prometheus.query(&query).await;
            assert!(
                !samples.is_empty(),
                "no data: {} ({})",
                panel["title"],
                written
            );
            for sample in &samples {
                let value: f64 = sample["value"][1].as_str().unwrap().parse().unwrap();
                assert!(value.is_finite(), "{written}: {sample}");
            }
            queries += 1;
        }
    }
    assert!(queries >= 15, "only {queries} queries");
    for label in ["namespace", "job"] {
        let values = format!("/api/v1/label/{label}/values?match[]=slipway_build_info");
        assert_eq!(
            prometheus
                .ask(&values)
                .await
                .unwrap()
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }

    let groups = prometheus.ask("/api/v1/rules").await.unwrap()["groups"].clone();
    let groups = groups.as_array().unwrap();
    let rules: Vec<&Value> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert!(rules.len() >= 12, "{rules:?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "nothing is wrong: {rule}");
    }
    replica.end().await;
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        promtool_accepts_the_metrics,
        every_query_of_the_dashboard_and_every_rule_works_on_scraped_metrics,
    ]
}
