//! A running `slipway serve`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    eventually, free_port,
    process::{Process, Signal},
};

/// A replica, killed when this is dropped.
pub struct Replica {
    process: Process,
    address: SocketAddr,
    metrics: SocketAddr,
}

impl Replica {
    /// Starts a replica on free ports.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        command
            .arg(format!("--listen={address}"))
            .arg(format!("--metrics-listen={metrics}"));
        Self {
            process: Process::start(&command, log, None),
            address,
            metrics,
        }
    }

    /// Returns the address of the webhook.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the replica reports that it is ready.
    pub async fn until_ready(&self) {
        eventually("a replica's /readyz", async || {
            let answer = self.get("/readyz").await?;
            answer.starts_with("HTTP/1.0 200").then_some(())
        })
        .await;
    }

    /// Returns the sum of a metric over all its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines
            .filter(|rest| rest.starts_with(['{', ' ']))
            .map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// Returns its log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Ends the process, and waits until it has exited.
    pub async fn end(&mut self, signal: Signal) {
        self.process.end(signal).await;
    }

    /// Sends the replica a signal.
    pub fn send(&mut self, signal: Signal) {
        self.process.send(signal);
    }

    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.metrics).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }
}
