//! Measures how long the calls of a well-behaved client take, alone and during each of the attacks.
//!
//! `cargo bench --bench hostile` needs taskset and chrt (Debian: util-linux), and two processors to
//! itself: one for the server, one for the clients. The attacker gets only the time that the
//! well-behaved client leaves (`SCHED_IDLE`), so its calls wait for the server, not for the attacker.
//! `cargo bench --bench hostile -- crowd` runs the attacks whose name contains the word.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::large_futures,
    reason = "a benchmark that meets the unexpected should stop there"
)]

use std::{
    env, fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use slipway_testkit::{
    hostile::{
        attacks,
        neighbour::{CALLS_A_CONNECTION, percentile, review},
    },
    process::{CLIENT_CPU, Server, tls_dir},
    served::Served,
    table::Table,
};
use tokio::{runtime::Runtime, time};

/// The first argument of a process that attacks.
const ATTACK: &str = "--attack";
/// The time between the starts of two calls, however long they take.
const PACE: Duration = Duration::from_millis(10);
/// Alone and attacked, in turns: whatever else the machine does then affects both.
const ROUNDS: usize = 5;
const CALLS_ALONE: usize = 200;
const CALLS_BESIDE: usize = 400;

/// The attacks, and how many of each run at once.
const ATTACKS: [(&str, usize); 15] = [
    ("crowd of 10,000 connections", 1),
    ("complete handshakes", 1),
    ("handshakes that stop half way", 1),
    ("not TLS", 8),
    ("heads without end", 8),
    ("heads and bodies that drip", 1),
    ("16 largest bodies that drip", 1),
    ("largest bodies", 1),
    ("HTTP/2 rapid resets", 8),
    ("HTTP/2 endless continuations", 8),
    ("HTTP/2 floods", 8),
    ("HTTP/2 answers never read", 1),
    ("HTTP/2 probes", 10),
    ("largest reviews", 1),
    ("good reviews, at full speed", 1),
];

/// Runs an attack once.
async fn attack(name: &str, served: &Served) {
    match name {
        "crowd of 10,000 connections" => drop(attacks::tls::crowd(served, 10_000).await),
        "complete handshakes" => attacks::tls::handshakes(served, 10_000).await,
        "handshakes that stop half way" => attacks::tls::stopping_half_way(served).await,
        "not TLS" => drop(attacks::tls::not_tls(served).await),
        "heads without end" => attacks::http1::endless_heads(served).await,
        "heads and bodies that drip" => attacks::http1::dripping(served).await,
        "16 largest bodies that drip" => attacks::http1::dripping_largest_bodies(served).await,
        "largest bodies" => attacks::requests::largest_bodies(served).await,
        "HTTP/2 rapid resets" => drop(attacks::http2::rapid_resets(served).await),
        "HTTP/2 endless continuations" => drop(attacks::http2::endless_continuations(served).await),
        "HTTP/2 floods" => attacks::http2::floods(served).await,
        "HTTP/2 answers never read" => attacks::requests::never_reading(served, 100).await,
        "HTTP/2 probes" => attacks::http2::probes(served).await,
        "largest reviews" => attacks::requests::largest_reviews(served).await,
        "good reviews, at full speed" => attacks::requests::reviews(served).await,
        _ => panic!("no attack is called `{name}`"),
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [mode, name, address] = arguments.as_slice()
        && mode == ATTACK
    {
        let name = ATTACKS
            .map(|(name, _)| name)
            .into_iter()
            .find(|known| known == name);
        return attack_for_ever(name.unwrap(), address.parse().unwrap());
    }
    for tool in ["taskset", "chrt"] {
        if Command::new(tool).arg("--version").output().is_err() {
            println!("hostile: skipped, {tool} is not installed");
            return;
        }
    }
    // Threads that are started from now on are where this one is.
    let own = std::process::id().to_string();
    let pin = Command::new("taskset")
        .args(["-cp", &CLIENT_CPU.to_string(), &own])
        .output()
        .unwrap();
    assert!(pin.status.success(), "{pin:?}");
    let words: Vec<_> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let mut table = Table::new(&[
        "attack",
        "p50 alone, ms",
        "beside it",
        "p99 alone",
        "beside it",
        "/ alone",
        "failed",
    ]);
    for (name, _) in ATTACKS {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            table.row(beside(name));
        }
    }
    table.print(&format!(
        "A call every {} ms, each tenth over a new connection",
        PACE.as_millis()
    ));
}

/// Describes a server in another process, which has no separate metrics port here.
fn served(address: SocketAddr) -> Served {
    Served {
        address,
        metrics: address,
        ca_pem: fs::read_to_string(tls_dir().join("ca.crt")).unwrap(),
    }
}

/// Repeats an attack until this process is killed.
fn attack_for_ever(name: &'static str, address: SocketAddr) {
    let copies = ATTACKS.iter().find(|(known, _)| *known == name).unwrap().1;
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let again_and_again = (0..copies).map(|_| async {
            loop {
                // An attack that fails, because the server closed its connection, starts again.
                let once = tokio::spawn(async move { attack(name, &served(address)).await });
                drop(once.await);
            }
        });
        join_all(again_and_again).await;
    });
}

/// An attacking process, killed when this is dropped.
struct Attacker(Child);

impl Attacker {
    fn start(name: &str, server: &Server) -> Self {
        let child = Command::new("chrt")
            .args(["--idle", "0", "taskset", "-c", &CLIENT_CPU.to_string()])
            .arg(env::current_exe().unwrap())
            .args([ATTACK, name, &server.address().to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let ended = self.0.try_wait().unwrap();
        let _ = self.0.kill();
        let _ = self.0.wait();
        assert_eq!(ended, None, "the attacker stopped by itself");
    }
}

/// Measures an attack. Returns its row of the table.
fn beside(name: &str) -> [String; 7] {
    let server = Server::slipway(&["--log-level=warn"]);
    let runtime = Runtime::new().unwrap();
    let (mut alone, mut during) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.extend(runtime.block_on(calls(&server, CALLS_ALONE)));
        let _attacker = Attacker::start(name, &server);
        during.extend(runtime.block_on(calls(&server, CALLS_BESIDE)));
    }
    assert_eq!(alone.len(), ROUNDS * CALLS_ALONE);
    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
    let [p50_alone, p50, p99_alone, p99] = [
        percentile(&mut alone, 50),
        percentile(&mut during, 50),
        percentile(&mut alone, 99),
        percentile(&mut during, 99),
    ]
    .map(millis);
    [
        name.to_owned(),
        format!("{p50_alone:.2}"),
        format!("{p50:.2}"),
        format!("{p99_alone:.2}"),
        format!("{p99:.2}"),
        format!("{:.1}", p99 / p99_alone),
        (ROUNDS * CALLS_BESIDE - during.len()).to_string(),
    ]
}

/// Makes calls at a steady pace. Returns how long each took that did not fail.
async fn calls(server: &Server, count: usize) -> Vec<Duration> {
    let address = server.address();
    let kept = served(address).client().http2().await;
    let mut pace = time::interval(PACE);
    let mut calls = Vec::new();
    for call in 0..count {
        pace.tick().await;
        let mut kept = kept.clone();
        calls.push(tokio::spawn(async move {
            let begin = Instant::now();
            if call.is_multiple_of(CALLS_A_CONNECTION) {
                review(&mut served(address).client().http2().await).await;
            } else {
                review(&mut kept).await;
            }
            begin.elapsed()
        }));
    }
    join_all(calls).await.into_iter().flatten().collect()
}
