//! The servers as processes, and the resources that they use.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::workspace::{program, scratch};

/// The CPUs of the servers and of their clients.
pub const SERVER_CPU: usize = 0;
pub const CLIENT_CPU: usize = 1;
/// The longest time that a start may take.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);

/// A server that is pinned to a CPU, killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    started: Instant,
    ready_after: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts `slipway serve --standalone` with more arguments.
    pub fn slipway(arguments: &[&str]) -> Self {
        let tls = format!("--tls-dir={}", tls_dir().display());
        Self::serve(&[&["--standalone", &tls], arguments].concat())
    }

    /// Starts `slipway serve` with these arguments.
    pub fn serve(arguments: &[&str]) -> Self {
        let (port, metrics) = (free_port(), free_port());
        let mut all = vec![
            "serve".to_owned(),
            format!("--listen=127.0.0.1:{port}"),
            format!("--metrics-listen=127.0.0.1:{metrics}"),
        ];
        all.extend(arguments.iter().map(ToString::to_string));
        Self::start(&program(), &all, port, || is_ready(metrics))
    }

    /// Starts a program on the servers' CPU, and waits until it is ready.
    pub fn start(
        program: &Path,
        arguments: &[String],
        port: u16,
        ready: impl Fn() -> bool,
    ) -> Self {
        let started = Instant::now();
        let child = Command::new("taskset")
            .args(["-c", &SERVER_CPU.to_string()])
            .arg(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            port,
            started,
            ready_after: Duration::ZERO,
        };
        while !ready() {
            assert!(
                started.elapsed() < PATIENCE,
                "{} did not get ready",
                program.display()
            );
            assert_eq!(
                server.child.try_wait().unwrap(),
                None,
                "{} ended",
                program.display()
            );
            thread::sleep(POLL);
        }
        server.ready_after = server.started.elapsed();
        server
    }

    /// Moves all its threads to these CPUs, in the notation of `taskset`.
    pub fn move_to(&self, processors: &str) {
        let moved = Command::new("taskset")
            .args(["--all-tasks", "--cpu-list", "--pid", processors])
            .arg(self.child.id().to_string())
            .output()
            .unwrap();
        assert!(moved.status.success(), "{moved:?}");
    }

    /// Returns the address on which it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Returns the time from the start of the process until it was ready.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Returns its resident memory, in KB.
    pub fn resident_kb(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let words = line.unwrap().split_whitespace().next();
        words.unwrap().parse().unwrap()
    }

    /// Returns the CPU time that all its threads have used.
    pub fn cpu_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = tasks.map(|task| {
            let schedstat = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            let on_cpu = schedstat.split_whitespace().next().unwrap();
            on_cpu.parse::<u64>().unwrap()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Returns the part of it that was spent in the kernel, mostly on sockets. It is counted in hundredths
    /// of a second.
    pub fn kernel_time(&self) -> Duration {
        const TICK: Duration = Duration::from_millis(10);
        let stat = self.proc("stat");
        // The name, in brackets, may contain spaces.
        let (_, after_name) = stat.rsplit_once(") ").unwrap();
        let ticks: u32 = after_name.split(' ').nth(12).unwrap().parse().unwrap();
        TICK * ticks
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }
}

/// Returns the directory of the certificates of `slipway serve --standalone`.
pub fn tls_dir() -> PathBuf {
    scratch().join("tls")
}

/// Returns a port that is free at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn is_ready(metrics_port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", metrics_port))?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
