//! The log, on standard error: one line for each decision of the server.

use std::{
    fmt,
    io::{self, IsTerminal},
};

use clap::ValueEnum;
use tracing::error;
use tracing_subscriber::EnvFilter;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object in each line.
    Json,
}

/// The least important lines that are logged.
///
/// It is not a filter with directives: a mistyped level would be a target that no line has, and silence the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What works worse than it should.
    Warn,
    /// Each decision.
    Info,
    /// Details, for the search for a fault.
    Debug,
    /// Everything.
    Trace,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

/// Starts the log.
pub(in crate::cli) fn start(level: LogLevel, format: Option<LogFormat>) {
    // The client quotes whole answers that it cannot parse: hundreds of nodes, or a Secret.
    let filter = EnvFilter::new(format!("kube_client::client=off,{level}"));
    let format = format.unwrap_or(if io::stderr().is_terminal() {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false);
    // Fails only when a log is set up already.
    let _ = match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
    };
}

/// Logs panics with their location only, because the message may quote the pod.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        error!(location, "panic");
    }));
}
