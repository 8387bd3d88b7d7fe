//! The command line: each command is a thin shell around the core.
//!
//! What a command prints is made whole before a byte of it is written, so that bad input never
//! leaves half a manifest in a pipe.

mod cache;
mod check;
mod client;
mod explain;
mod facts;
mod inject;
mod input;
mod nodes;
mod output;
mod policy;
mod problem;
mod serve;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use input::BadInput;

/// The exit code for input that cannot be used; clap's own for arguments that cannot.
const BAD_INPUT: u8 = 2;
/// The exit code of `cache release` and `cache evict` when a pod has a claim.
const HELD: u8 = 3;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something went wrong that the input is not to blame for; of `nodes`, `check` and `cache`: they found an error
  2  the arguments or a file cannot be used; the message says which file, line and column
  3  of `cache release` and `cache evict`: a pod has one of the claims, which was left alone";

/// Gives CI runner pods on Kubernetes the fastest safe build path that their nodes allow.
///
/// Slipway is a mutating admission webhook. The commands `inject` and `explain` show what it would do
/// to a manifest, with a cluster or without; `nodes`, `check` and `cache` look at a cluster; `policy` checks
/// the policy file; `serve` is the webhook itself.
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
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error there is nobody left to tell.
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
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the reader of our output has seen enough, as `head` does.
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
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_can_come_from_the_environment() {
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
