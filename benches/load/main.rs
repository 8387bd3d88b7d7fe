//! The server under load, compared with bare servers of the same HTTP and TLS libraries: requests per
//! second, CPU time per request, memory.
//!
//! `cargo bench --bench load` needs h2load (Debian: nghttp2-client) and taskset, and two CPUs to
//! itself: one for the servers, which are measured in turn, one for the client.
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
mod two_processors;
mod watched;

use std::{env, process::Command, time::Duration};

use client::{Load, Protocol};
use serde_json::{Value, json};
use slipway_testkit::{
    process::Server,
    reviews::{Size, review},
    table::Table,
};

/// The number of measurements per server and protocol; the median counts.
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
    let patched = Load::new("review", &review(Size::Usual));
    beside_bare_servers(&patched, &Load::new("opted-out", &opted_out()));
    two_processors::from_one_address(&Load::new("large-review", &review(Size::Large)));
    watched::with_nodes(&patched);
}

/// The usual review, of a pod that opts out.
fn opted_out() -> Vec<u8> {
    let mut review: Value = serde_json::from_slice(&review(Size::Usual)).unwrap();
    review["request"]["object"]["metadata"]["annotations"]["slipway.io/inject"] = json!("false");
    review.to_string().into_bytes()
}

/// A row of the tables: a server and its requests.
struct Row<'a> {
    name: &'static str,
    server: Server,
    load: &'a Load,
}

/// The measurements of one server, round by round.
#[derive(Default)]
struct Measured {
    per_second: Vec<f64>,
    cpu_micros: Vec<f64>,
    kernel_micros: Vec<f64>,
}

impl Measured {
    /// Asks once more.
    fn round(&mut self, server: &Server, load: &Load, protocol: Protocol) {
        let (cpu, kernel) = (server.cpu_time(), server.kernel_time());
        let per_second = load.run(server, protocol, REQUESTS_A_ROUND);
        let a_request = |spent: Duration| spent.as_secs_f64() * 1e6 / REQUESTS_A_ROUND as f64;
        let cpu = a_request(server.cpu_time().saturating_sub(cpu));
        let kernel = a_request(server.kernel_time().saturating_sub(kernel));
        self.per_second.push(per_second);
        self.cpu_micros.push(cpu);
        self.kernel_micros.push(kernel);
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn beside_bare_servers(patched: &Load, opted_out: &Load) {
    let row = |name, server, load| Row { name, server, load };
    let warn = ["--log-level=warn"];
    let rows = [
        row(
            "constant answer",
            bare::start(bare::Kind::Constant),
            patched,
        ),
        row(
            "borrowed parse, small patch",
            bare::start(bare::Kind::Borrowed),
            patched,
        ),
        row("slipway, no patch", Server::slipway(&[]), opted_out),
        row(
            "slipway, no patch, log level warn",
            Server::slipway(&warn),
            opted_out,
        ),
        row("slipway, patch", Server::slipway(&[]), patched),
        row(
            "slipway, patch, log level warn",
            Server::slipway(&warn),
            patched,
        ),
    ];
    let idle: Vec<u64> = rows.iter().map(|row| row.server.resident_kb()).collect();
    let mut asked = 0;
    for protocol in Protocol::ALL {
        let mut measured: Vec<Measured> = rows.iter().map(|_| Measured::default()).collect();
        for _ in 0..ROUNDS {
            for (row, measured) in rows.iter().zip(&mut measured) {
                measured.round(&row.server, row.load, protocol);
            }
            asked += REQUESTS_A_ROUND;
        }
        print(protocol, &rows, &measured);
    }
    let mut table = Table::new(&["server", "idle", &format!("after {asked} requests")]);
    for (row, idle) in rows.iter().zip(idle) {
        table.row([
            row.name.to_owned(),
            megabytes(idle),
            megabytes(row.server.resident_kb()),
        ]);
    }
    table.print("Resident memory, MB");
}

fn print(protocol: Protocol, rows: &[Row<'_>], measured: &[Measured]) {
    let per_second: Vec<f64> = measured.iter().map(|m| median(&m.per_second)).collect();
    let cpu: Vec<f64> = measured.iter().map(|m| median(&m.cpu_micros)).collect();
    let mut table = Table::new(&[
        "server",
        "requests/s",
        "/ constant",
        "CPU µs/request",
        "/ constant",
        "in the kernel",
    ]);
    for (i, row) in rows.iter().enumerate() {
        table.row([
            row.name.to_owned(),
            format!("{:.0}", per_second[i]),
            format!("{:.2}", per_second[i] / per_second[0]),
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

fn megabytes(kb: u64) -> String {
    format!("{:.1}", kb as f64 / 1024.0)
}
