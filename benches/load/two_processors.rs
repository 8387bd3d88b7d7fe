//! What calls from one client address get of two processors.
//!
//! The client needs a processor too. On a machine with two it shares one with the server, and the
//! rate alone would say as much about the client as about the server. So the time of both is
//! measured: whether the server used all that the client left, and at which cost a request. Both
//! together are the rate that the server would have with two processors to itself.

use slipway_testkit::{
    process::{CLIENT_CPU, SERVER_CPU, Server},
    table::Table,
};

use super::{
    ROUNDS,
    client::{Load, Protocol, cpu_time_of_clients},
    median,
};

/// The review is large: it costs the server much more than the client.
const REQUESTS_A_ROUND: u64 = 3_000;

/// Asks a server with two workers on one processor, and then on two.
pub fn from_one_address(large: &Load) {
    let server = Server::slipway(&["--log-level=warn", "--workers=2"]);
    let mut one = Setup::new("one", 1.0);
    let mut two = Setup::new("both, one of them shared with the client", 2.0);
    for _ in 0..ROUNDS {
        server.move_to(&SERVER_CPU.to_string());
        one.round(&server, large);
        server.move_to(&format!("{SERVER_CPU},{CLIENT_CPU}"));
        two.round(&server, large);
    }
    let mut table = Table::new(&[
        "server on",
        "requests/s",
        "server busy",
        "client busy",
        "used of what was left",
        "CPU µs/request",
    ]);
    for setup in [&one, &two] {
        table.row([
            setup.name.to_owned(),
            format!("{:.0}", median(&setup.per_second)),
            format!("{:.2}", median(&setup.server)),
            format!("{:.2}", median(&setup.client)),
            format!("{:.2}", setup.used()),
            format!("{:.1}", setup.cpu_micros()),
        ]);
    }
    table.print("Calls from one address, HTTP/1.1, 200 KB; busy in processors");
    println!(
        "\nWith two processors to itself: {:.2} times the rate of one.",
        two.whole_rate() / one.whole_rate()
    );
}

/// A number of processors for the server, and what it did with them, round by round.
struct Setup {
    name: &'static str,
    processors: f64,
    per_second: Vec<f64>,
    /// How many processors the server kept busy.
    server: Vec<f64>,
    /// The same of the client.
    client: Vec<f64>,
}

impl Setup {
    fn new(name: &'static str, processors: f64) -> Self {
        Self {
            name,
            processors,
            per_second: Vec::new(),
            server: Vec::new(),
            client: Vec::new(),
        }
    }

    fn round(&mut self, server: &Server, load: &Load) {
        let before = (server.cpu_time(), cpu_time_of_clients());
        let per_second = load.run(server, Protocol::Http1, REQUESTS_A_ROUND);
        let after = (server.cpu_time(), cpu_time_of_clients());
        let seconds = REQUESTS_A_ROUND as f64 / per_second;
        self.per_second.push(per_second);
        self.server
            .push(after.0.saturating_sub(before.0).as_secs_f64() / seconds);
        self.client
            .push(after.1.saturating_sub(before.1).as_secs_f64() / seconds);
    }

    /// Returns the part of what the client left that the server used.
    fn used(&self) -> f64 {
        let shared = self.processors > 1.0;
        let left = self.processors - if shared { median(&self.client) } else { 0.0 };
        median(&self.server) / left
    }

    fn cpu_micros(&self) -> f64 {
        median(&self.server) / median(&self.per_second) * 1e6
    }

    /// Returns the requests a second of these processors without a client on them.
    fn whole_rate(&self) -> f64 {
        self.used() * self.processors * 1e6 / self.cpu_micros()
    }
}
