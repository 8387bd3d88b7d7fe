//! Inputs made to fill the memory, against the program itself.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    attacks::requests as attacks,
    neighbour::beside,
    served::{ATTACKER, HTTP_1, Served, serve, within},
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
    let dir = std::env::temp_dir().join(format!("slipway-memory-{}", std::process::id()));
    let mut child = Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args([
            "serve",
            "--standalone",
            "--listen=127.0.0.1:0",
            "--metrics-listen=127.0.0.1:0",
        ])
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
    // Its log must not fill the pipe.
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
    /// The most memory that it ever had, in KiB.
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

/// 2 GiB in bodies of the largest size, all at once, over a few HTTP/2 connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_the_largest_size_all_at_once_stay_below_the_charts_memory_limit() {
    let (program, served) = start();
    beside(&served, attacks::largest_bodies(&served)).await;
    let peak = program.peak();
    println!("peak: {} MiB", peak >> 10);
    assert!(peak < LIMIT_KIB, "{peak} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_fills_the_room_for_bodies_is_told_so_and_nobody_else_waits() {
    let served = serve(|_| {});
    beside(&served, async {
        let mut unfinished = Vec::new();
        for _ in 0..4 {
            let mut stream = served.tls(ATTACKER, HTTP_1).await.unwrap();
            let head = "POST /mutate HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                        content-length: 8388608\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut go_on = [0; 25];
            within(stream.read_exact(&mut go_on)).await.unwrap();
            assert_eq!(go_on, *b"HTTP/1.1 100 Continue\r\n\r\n");
            unfinished.push(stream);
        }
        let head = "POST /mutate?timeout=20ms HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                    content-length: 1\r\n\r\n ";
        let answer = served.answer(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("others from the same address"), "{answer}");
    })
    .await;
}
