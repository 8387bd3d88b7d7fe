//! The command line. Each command is a thin shell around the core.
//!
//! A command renders its whole output before it writes the first byte, so that bad input never leaves
//! half a manifest in a pipe.

mod cache;
mod check;
mod client;
mod cluster;
mod completion;
mod explain;
mod inject;
mod input;
mod nodes;
mod output;
mod policy;
mod problem;
mod queries;
mod serve;
#[cfg(target_os = "linux")]
mod slots;
mod version;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use input::BadInput;

/// The exit code for unusable input; clap uses the same for unusable arguments.
const BAD_INPUT: u8 = 2;
/// The exit code of `cache release` and `cache evict` when a pod uses a claim.
const HELD: u8 = 3;

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  a failure that is not the input's fault; from `nodes`, `check` and `cache`: they found an error
  2  the arguments or a file cannot be used; the message names the file, the line and the column
  3  from `cache release` and `cache evict`: a pod uses one of the claims, which was left alone";

/// Gives CI runner pods on Kubernetes the fastest safe build path that their nodes allow.
///
/// Slipway is a mutating admission webhook. `serve` runs it. `inject` and `explain` show what it would do to a
/// manifest, with a cluster or without; `nodes`, `check` and `cache` inspect a cluster; `policy` checks the
/// policy file; `slots` cleans up on a node; `completion` and `version` are for the shell.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, after_long_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inject(Box<inject::InjectArgs>),
    Explain(Box<explain::ExplainArgs>),
    Nodes(nodes::NodesArgs),
    Check(check::CheckArgs),
    Cache(Box<cache::CacheArgs>),
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    Serve(Box<serve::ServeArgs>),
    #[cfg(target_os = "linux")]
    #[command(subcommand)]
    Slots(slots::SlotsCommand),
    Completion(completion::CompletionArgs),
    Version(version::VersionArgs),
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, there is no way to report that.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            if error.is::<BadInput>() {
                ExitCode::from(BAD_INPUT)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Inject(args) => inject::run(&args)?,
        Command::Explain(args) => explain::run(&args)?,
        Command::Nodes(args) => return nodes::run(&args),
        Command::Check(args) => return check::run(&args),
        Command::Cache(args) => return cache::run(&args),
        Command::Policy(command) => policy::run(&command)?,
        Command::Serve(args) => serve::start(&args)?,
        #[cfg(target_os = "linux")]
        Command::Slots(command) => slots::run(&command)?,
        Command::Completion(args) => completion::run(&args)?,
        Command::Version(args) => version::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns whether the reader closed the pipe early, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_argument_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_can_be_set_by_environment_variables() {
        let cli = Cli::command();
        for command in ["inject", "explain"] {
            let command = cli.find_subcommand(command).unwrap();
            for name in [
                "nodes",
                "namespaces",
                "policy",
                "namespace",
                "output",
                "cluster",
            ] {
                let option = command
                    .get_arguments()
                    .find(|a| a.get_id() == name)
                    .unwrap();
                let variable = format!("SLIPWAY_{}", name.to_uppercase());
                assert_eq!(option.get_env().unwrap(), variable.as_str());
            }
        }
    }
}
