//! The log of the server: one line a decision, on stderr.

use std::io::{self, IsTerminal};

use anyhow::Context;
use clap::ValueEnum;
use tracing::error;
use tracing_subscriber::EnvFilter;

use super::ServeArgs;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// Starts it.
///
/// # Errors
/// When the level is not understood.
pub(super) fn start(args: &ServeArgs) -> anyhow::Result<()> {
    // That client quotes whole answers that it cannot read: nodes by the hundred, or a Secret.
    let filter = format!("kube_client::client=off,{}", args.log_level);
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("--log-level `{}` is not understood", args.log_level))?;
    let format = args.log_format.unwrap_or(if io::stderr().is_terminal() {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false);
    // Fails only when there is a log already, of whoever embeds this.
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

/// Panics go to the log by their place only: a panic's message may quote the pod.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        error!(place, "panic");
    }));
}
