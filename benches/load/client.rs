//! The client: h2load, pinned to a CPU.

use std::{fmt, fs, path::PathBuf, process::Command, time::Duration};

use slipway_testkit::{
    process::{CLIENT_CPU, Server},
    workspace::scratch,
};

/// The number of connections. An API server keeps fewer.
pub const CONNECTIONS: u32 = 16;

/// The protocol over TLS.
#[derive(Debug, Clone, Copy)]
pub enum Protocol {
    /// With keep-alive, as API servers call Services.
    Http1,
    /// One request at a time on each connection.
    Http2,
}

impl Protocol {
    pub const ALL: [Self; 2] = [Self::Http1, Self::Http2];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

/// A request body that can be sent many times.
#[derive(Debug)]
pub struct Load {
    body: PathBuf,
}

impl Load {
    /// Writes the body to a file for the client.
    pub fn new(name: &str, body: &[u8]) -> Self {
        let file = scratch().join(format!("{name}.json"));
        fs::write(&file, body).unwrap();
        Self { body: file }
    }

    /// Sends the body `requests` times. Returns the number of answers per second.
    ///
    /// # Panics
    /// If one of them is not answered with 200.
    pub fn run(&self, server: &Server, protocol: Protocol, requests: u64) -> f64 {
        let mut command = Command::new("taskset");
        command.args(["-c", &CLIENT_CPU.to_string(), "h2load"]);
        if matches!(protocol, Protocol::Http1) {
            command.arg("--h1");
        }
        let output = command
            .arg(format!("--requests={requests}"))
            .arg(format!("--clients={CONNECTIONS}"))
            .arg(format!("--data={}", self.body.display()))
            .arg("--header=content-type: application/json")
            .arg(format!("https://{}/mutate?timeout=5s", server.address()))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        // finished in 1.59s, 12560.36 req/s, 3.21MB/s
        let per_second = text
            .lines()
            .find(|line| line.starts_with("finished in"))
            .and_then(|line| {
                line.split(", ")
                    .nth(1)?
                    .strip_suffix(" req/s")?
                    .parse()
                    .ok()
            });
        let all = format!("status codes: {requests} 2xx");
        assert!(text.contains(&all), "not all were answered: {text}");
        per_second.unwrap_or_else(|| panic!("h2load: {text}"))
    }
}

/// The processor time of all clients that have ended, counted in hundredths of a second.
pub fn cpu_time_of_clients() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // The name, in brackets, may hold blanks. The children's time is given after this process's own.
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    let children = after_name.split(' ').skip(13).take(2);
    let ticks = children.map(|ticks| ticks.parse::<u32>().unwrap());
    TICK * ticks.sum::<u32>()
}
