//! Inputs made to fill the memory, against the program itself.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{attacks::requests as attacks, neighbour::beside, served::Served};

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
