//! Attacks on the memory of the program itself.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;
use slipway_testkit::served::Served;

use super::{
    attacker,
    attacks::{
        http1,
        requests::{self as attacks, review_full_of},
    },
    neighbour::beside,
};

/// The chart's memory limit.
const LIMIT_KIB: u64 = 256 << 10;

struct Program {
    child: Child,
    dir: PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn start() -> (Program, Served) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("slipway-memory-{}-{number}", std::process::id()));
    let mut child = Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args([
            "serve",
            "--standalone",
            "--listen=127.0.0.1:0",
            "--metrics-listen=127.0.0.1:0",
        ])
        // The deadline must not free the memory before the limits do.
        .arg("--request-timeout=60s")
        .args(["--log-format=json", "--workers=2", "--tls-dir"])
        .arg(&dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let serving = log
        .by_ref()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap_or_default())
        .find(|line| line["message"] == "serving")
        .unwrap();
    // Otherwise its log fills the pipe.
    std::thread::spawn(move || log.for_each(drop));
    let address = |key: &str| {
        serving[key]
            .as_str()
            .unwrap()
            .parse::<SocketAddr>()
            .unwrap()
    };
    let served = Served {
        address: address("address"),
        metrics: address("metrics"),
        ca_pem: fs::read_to_string(dir.join("ca.crt")).unwrap(),
    };
    (Program { child, dir }, served)
}

impl Program {
    /// Returns its peak memory, in KiB.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_bodies_of_the_largest_size_stay_below_the_charts_memory_limit() {
    let (program, served) = start();
    let count = 5 * http1::LARGEST_BODIES;
    let open = beside(&served, http1::unfinished_largest_bodies(&served, count)).await;
    assert_eq!(open.len(), count);
    let peak = program.peak();
    println!("peak: {} MiB", peak >> 10);
    assert!(peak < LIMIT_KIB, "{peak} KiB");
}

/// 1 GiB in bodies of the largest size, all at once, over a few HTTP/2 connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_the_largest_size_all_at_once_stay_below_the_charts_memory_limit() {
    let (program, served) = start();
    beside(&served, attacks::largest_bodies(&served)).await;
    let peak = program.peak();
    println!("peak: {} MiB", peak >> 10);
    assert!(peak < LIMIT_KIB, "{peak} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_cost_their_client_its_connections_before_they_fill_the_memory() {
    let (program, served) = start();
    beside(&served, attacks::never_reading(&served, 40)).await;
    let peak = program.peak();
    println!("peak: {} MiB", peak >> 10);
    assert!(peak < LIMIT_KIB, "{peak} KiB");
    let closed = served
        .metric(r#"slipway_admission_problems_total{problem="connection-limit"}"#)
        .await;
    assert!(closed >= 20, "{closed} of 40 connections were closed");
}

/// A careless parser would allocate far more for these than they take as JSON.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_full_of_tiny_objects_stay_below_the_charts_memory_limit() {
    let (program, served) = start();
    beside(&served, async {
        for (pod, item) in [
            (r#"{"spec":{"containers":[{}]}}"#, r#"{"name":"","env":[]}"#),
            (r#"{"spec":{"containers":[{}]}}"#, r#"{"name":"","resources":{"limits":{"":1,"":1}}}"#),
            (r#"{"spec":{"containers":[{"name":"c","args":[{}]}]}}"#, r#""""#),
            (r#"{"spec":{"tolerations":[{}]}}"#, "{}"),
            (r#"{"spec":{"volumes":[{}]}}"#, r#"{"name":""}"#),
            (r#"{"metadata":{"ownerReferences":[{}]}}"#, "{}"),
            (r#"{"metadata":{"labels":{{}}}}"#, r#""":"""#),
        ] {
            let review = review_full_of(pod, item);
            let head = format!(
                "POST /mutate HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                review.len()
            );
            let answer = attacker(&served).answer((head + &review).as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(answer.contains(r#""allowed":true"#), "{answer}");
            assert!(!answer.contains("warnings"), "{pod} must be evaluated: {answer}");
        }
    })
    .await;
    let peak = program.peak();
    println!("peak: {} MiB", peak >> 10);
    assert!(peak < LIMIT_KIB, "{peak} KiB");
}
