//! The server under load, beside bare servers of the same HTTP and TLS libraries: requests a second,
//! processor time a request, memory.
//!
//! `cargo bench --bench load` needs h2load (Debian: nghttp2-client) and taskset, and two processors
//! to itself: one for the servers, which are asked in turn, one for the client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark that meets the unexpected should stop there"
)]

mod bare;
mod client;
mod watched;

use std::{env, process::Command, time::Duration};

use client::{Load, Protocol};
use slipway_testkit::{
    process::Server,
    reviews::{Size, review},
    table::Table,
    workspace::scratch,
};

/// Each server is asked so often in each protocol; the median counts.
const ROUNDS: usize = 5;
const REQUESTS_A_ROUND: u64 = 20_000;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let [_, mode, kind, port] = arguments.as_slice()
        && mode == bare::SERVE
    {
        return bare::serve(kind.parse().unwrap(), port.parse().unwrap());
    }
    for tool in ["h2load", "taskset"] {
        if Command::new(tool).arg("--version").output().is_err() {
            println!("load: skipped, {tool} is not installed");
            return;
        }
    }
    let load = Load::new(scratch(), &review(Size::Usual));
    beside_bare_servers(&load);
    watched::with_nodes(&load);
}

/// What one server did, round by round.
#[derive(Default)]
struct Measured {
    per_second: Vec<f64>,
    cpu_micros: Vec<f64>,
    kernel_micros: Vec<f64>,
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn beside_bare_servers(load: &Load) {
    let servers = [
        ("constant answer", bare::start(bare::Kind::Constant)),
        ("Value, constant patch", bare::start(bare::Kind::Value)),
        ("slipway", Server::slipway(&[])),
        (
            "slipway, log level warn",
            Server::slipway(&["--log-level=warn"]),
        ),
    ];
    let idle: Vec<u64> = servers
        .iter()
        .map(|(_, server)| server.resident_kb())
        .collect();
    let mut asked = 0;
    for protocol in Protocol::ALL {
        let mut measured: Vec<Measured> = servers.iter().map(|_| Measured::default()).collect();
        for _ in 0..ROUNDS {
            for ((_, server), measured) in servers.iter().zip(&mut measured) {
                let before = (server.cpu_time(), server.kernel_time());
                let per_second = load.run(server, protocol, REQUESTS_A_ROUND);
                let a_request = |spent: Duration| micros(spent) / REQUESTS_A_ROUND as f64;
                measured.per_second.push(per_second);
                measured
                    .cpu_micros
                    .push(a_request(server.cpu_time().saturating_sub(before.0)));
                measured
                    .kernel_micros
                    .push(a_request(server.kernel_time().saturating_sub(before.1)));
            }
            asked += REQUESTS_A_ROUND;
        }
        print(protocol, &servers, &measured);
    }
    let mut table = Table::new(&["server", "idle", &format!("after {asked} requests")]);
    for ((name, server), idle) in servers.iter().zip(idle) {
        table.row([
            (*name).to_owned(),
            megabytes(idle),
            megabytes(server.resident_kb()),
        ]);
    }
    table.print("Resident memory, MB");
}

fn print(protocol: Protocol, servers: &[(&str, Server)], measured: &[Measured]) {
    let per_second: Vec<f64> = measured.iter().map(|m| median(&m.per_second)).collect();
    let cpu: Vec<f64> = measured.iter().map(|m| median(&m.cpu_micros)).collect();
    let mut table = Table::new(&[
        "server",
        "requests/s",
        "/ constant",
        "/ Value",
        "CPU µs/request",
        "/ constant",
        "in the kernel",
    ]);
    for (i, (name, _)) in servers.iter().enumerate() {
        table.row([
            (*name).to_owned(),
            format!("{:.0}", per_second[i]),
            format!("{:.2}", per_second[i] / per_second[0]),
            format!("{:.2}", per_second[i] / per_second[1]),
            format!("{:.1}", cpu[i]),
            format!("{:.2}", cpu[i] / cpu[0]),
            format!("{:.1}", median(&measured[i].kernel_micros)),
        ]);
    }
    table.print(&format!(
        "{protocol}, TLS, {} connections, 15.8 KB",
        client::CONNECTIONS
    ));
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn megabytes(kb: u64) -> String {
    format!("{:.1}", kb as f64 / 1024.0)
}
