//! `slipway slots`: the node slots of the machine that it runs on.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Args, Subcommand};
use tracing::{error, info};

use super::{
    EXIT_CODES,
    serve::{
        log::{self, LogFormat, LogLevel},
        positive, stop_signal,
    },
};
use crate::{
    node_slots::{SweepError, Sweeper},
    server::duration,
};

const AFTER_HELP: &str = "\
Examples:
  slipway slots sweep
      Run on a node, as the Helm chart does with slotsSweeper.enabled.
  slipway slots sweep --once --idle 0s --root /mnt/slipway
      Delete all slots of this node that no dockerd has.";

/// Manage the node slots of this machine
#[derive(Debug, Subcommand)]
pub(super) enum SlotsCommand {
    Sweep(SweepArgs),
}

/// Delete the node slots that no dockerd took for some time
///
/// A slot is deleted under its lock, so no dockerd loses the directory that it runs on. What dead pods set aside is
/// deleted after the same time. Nothing else is touched, and no link that a job left is followed. It needs root, with
/// the capabilities DAC_OVERRIDE and FOWNER.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct SweepArgs {
    /// A directory of node slots: the policy's `dind.cache.root`; can be repeated
    #[arg(
        long = "root",
        env = "SLIPWAY_SLOTS_ROOTS",
        value_name = "DIRECTORY",
        value_delimiter = ',',
        default_value = "/var/lib/slipway"
    )]
    roots: Vec<PathBuf>,

    /// Delete slots that no dockerd took for this long
    #[arg(long, env = "SLIPWAY_SLOTS_IDLE", value_name = "DURATION", default_value = "7d", value_parser = duration::parse)]
    idle: Duration,

    /// The time from the end of one round to the next
    #[arg(long, env = "SLIPWAY_SLOTS_EVERY", value_name = "DURATION", default_value = "1h", value_parser = positive)]
    every: Duration,

    /// Exit when everything that is idle is deleted
    #[arg(long, env = "SLIPWAY_SLOTS_ONCE")]
    once: bool,

    /// The format of log lines [default: text on a terminal, JSON otherwise]
    #[arg(long, env = "SLIPWAY_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,

    /// The log level; info has a line for each slot that is deleted
    #[arg(
        long,
        env = "SLIPWAY_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info",
        ignore_case = true
    )]
    log_level: LogLevel,
}

pub(super) fn run(command: &SlotsCommand) -> anyhow::Result<()> {
    let SlotsCommand::Sweep(args) = command;
    log::start(args.log_level, args.log_format);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start a runtime")?;
    let swept = runtime.block_on(async {
        tokio::select! {
            swept = sweep(args) => swept,
            name = stop_signal()? => {
                info!(signal = name, "stopped");
                Ok(())
            }
        }
    });
    // A round that runs is not waited for: whatever it leaves, the next one finishes.
    runtime.shutdown_background();
    swept
}

async fn sweep(args: &SweepArgs) -> anyhow::Result<()> {
    let sweeper = |root: &PathBuf| Sweeper::new(root.clone(), args.idle);
    let mut sweepers: Vec<Sweeper> = args.roots.iter().map(sweeper).collect();
    loop {
        let round;
        (sweepers, round) = tokio::task::spawn_blocking(|| all_roots(sweepers))
            .await
            .context("a round did not end")?;
        match round {
            Ok(true) => continue,
            Ok(false) if args.once => return Ok(()),
            Err(error) if args.once => return Err(error.into()),
            Ok(false) => {}
            Err(error) => error!(error = format!("{:#}", anyhow::Error::from(error))),
        }
        tokio::time::sleep(args.every).await;
    }
}

/// Sweeps all roots once. Returns whether another round should follow at once, or the last error.
fn all_roots(mut sweepers: Vec<Sweeper>) -> (Vec<Sweeper>, Result<bool, SweepError>) {
    let mut result = Ok(false);
    for sweeper in &mut sweepers {
        result = match (sweeper.round(), result) {
            (Ok(swept), Ok(is_unfinished)) => Ok(is_unfinished || swept.is_unfinished),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
    }
    (sweepers, result)
}
