//! `slipway cache`: the caches that outlive runner pods, and what a person may do to them.

mod change;
mod look;
mod report;
mod text;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use k8s_openapi::jiff::Timestamp;

use super::{
    EXIT_CODES,
    client::{ClientArgs, block_on},
    input::read_policy,
    output::{Color, Format, print},
    problem,
};
use change::ChangeArgs;
use report::Report;

const AFTER_HELP: &str = "\
Examples:
  slipway cache                                # all claims of pools, and the node slots of the policy
  slipway cache -n ci -o json | jq '.claims[] | select(.state == \"free\") | .name'
  slipway cache evict -n ci slipway-fast-3     # somebody poisoned it: the next pod gets a new one
  slipway cache evict -n ci --key arc-build    # all claims with the layers of one runner set

Which pod has a node slot, when it was last used and how large it is, only its node knows; of slots
this shows what the policy says, and the pods that could have one.";

/// List the caches that outlive runner pods, or take a claim back
///
/// Without a command it lists: the claims of pools with their pods, last use, size, and how often a pod
/// found its own layers; and the node slots that the policy gives.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"), args_conflicts_with_subcommands = true)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    command: Option<CacheCommand>,

    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    List(ListArgs),
    /// End the lease of claims that no pod has
    ///
    /// The leader does that by itself; this is for when there is none. A claim that a live pod has is left
    /// alone, and so is one that somebody else changes in the meantime.
    #[command(after_long_help = EXIT_CODES)]
    Release(ChangeArgs),
    /// Delete claims with their layers
    ///
    /// For a cache that is spoilt, or that a job has poisoned. A claim that a live pod has is left alone.
    #[command(after_long_help = EXIT_CODES)]
    Evict(EvictArgs),
}

/// List the caches that outlive runner pods
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    client: ClientArgs,

    /// Only those of this namespace [default: all namespaces]
    #[arg(short, long, value_name = "NAME", env = "SLIPWAY_CACHE_NAMESPACE")]
    namespace: Option<String>,

    /// The policy file [default: the one that is installed, else the built-in policy]
    #[arg(long, value_name = "FILE", env = "SLIPWAY_POLICY")]
    policy: Option<PathBuf>,

    /// The namespace in which Slipway is installed
    #[arg(
        long,
        value_name = "NAME",
        env = "SLIPWAY_NAMESPACE",
        default_value = "slipway-system"
    )]
    installed_in: String,

    /// What to print
    #[arg(short, long, value_enum, default_value_t, env = "SLIPWAY_OUTPUT")]
    output: Format,

    /// When to colour the text
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

#[derive(Debug, Args)]
struct EvictArgs {
    #[command(flatten)]
    change: ChangeArgs,

    /// All claims with the layers of this cache key
    #[arg(
        long,
        value_name = "KEY",
        env = "SLIPWAY_CACHE_KEY",
        conflicts_with = "claims"
    )]
    key: Option<String>,
}

pub(super) fn run(args: &CacheArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        None => list(&args.list),
        Some(CacheCommand::List(args)) => list(args),
        Some(CacheCommand::Release(args)) => change::release(args),
        Some(CacheCommand::Evict(args)) => change::evict(&args.change, args.key.as_deref()),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let policy = args.policy.as_deref().map(read_policy).transpose()?;
    let seen = block_on(async {
        let client = args.client.client().await?;
        look::look(client, args, policy).await
    })?;
    let report = Report::of(&seen);
    print(&match args.output {
        Format::Text => text::text(&report, Timestamp::now(), args.color.paint()),
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
    })?;
    Ok(ExitCode::from(u8::from(problem::any_error(
        &report.problems,
    ))))
}
