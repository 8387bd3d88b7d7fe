//! The log, on standard error: one line for each decision of the server.

use std::io::{self, IsTerminal};

use anyhow::Context;
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

/// Starts the log.
///
/// # Errors
/// When the level is invalid.
pub(in crate::cli) fn start(level: &str, format: Option<LogFormat>) -> anyhow::Result<()> {
    // The client quotes whole answers that it cannot parse: hundreds of nodes, or a Secret.
    let filter = format!("kube_client::client=off,{level}");
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("--log-level `{level}` is invalid"))?;
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
    Ok(())
}

/// Logs panics with their location only, because the message may quote the pod.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        error!(location, "panic");
    }));
}
