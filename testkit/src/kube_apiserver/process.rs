//! Processes that end with the test run, even if it is killed.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use super::eventually;

/// A supervisor: passes on the signals that are named on standard input, and kills the process at its
/// end. So no process is left behind, even if the test is killed.
const SUPERVISOR: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- & child=$!
{ while read -r signal <&3; do kill -s "$signal" "$child"; done; kill -s KILL "$child"; } 2>/dev/null & reader=$!
wait "$child"; code=$?
kill "$reader" 2>/dev/null
[ -z "$SCRATCH" ] || rm -rf "$SCRATCH"
exit "$code"
"#;

/// A signal for a process.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
}

/// A running process, killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    supervisor: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in the file `log`; `scratch` is a directory that is deleted with it.
    pub fn start(command: &Command, log: &Path, scratch: Option<&Path>) -> Self {
        let output = File::options().create(true).append(true).open(log).unwrap();
        let mut supervisor = Command::new("sh");
        supervisor
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(command.get_program())
            .args(command.get_args())
            .env("SCRATCH", scratch.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => supervisor.env(name, value),
                None => supervisor.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            supervisor.current_dir(directory);
        }
        Self {
            supervisor: supervisor.spawn().unwrap(),
            log: log.to_owned(),
        }
    }

    /// Returns its output so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// # Panics
    /// If it has exited, with its last lines.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.supervisor.try_wait().unwrap() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            panic!("{} ({status}):\n{}", self.log.display(), last.join("\n"));
        }
    }

    /// Ends the process, and waits until it has exited.
    pub async fn end(&mut self, signal: Signal) {
        self.send(signal);
        let supervisor = Mutex::new(&mut self.supervisor);
        eventually("a process to end", async || {
            supervisor.lock().unwrap().try_wait().unwrap()
        })
        .await;
    }

    /// Sends the process a signal. It may have exited already.
    pub fn send(&mut self, signal: Signal) {
        let name = match signal {
            Signal::Term => "TERM",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        };
        if let Some(stdin) = &mut self.supervisor.stdin {
            let _ = writeln!(stdin, "{name}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends when its standard input does.
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}
