//! `slipway cache`: lists the caches that outlive runner pods, and releases or evicts claims.

mod change;
mod report;
mod survey;
mod text;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use k8s_openapi::jiff::Timestamp;

use super::{
    EXIT_CODES,
    client::{ClientArgs, block_on},
    input::PolicyFile,
    output::{Color, Format, print},
    problem,
};
use change::ChangeArgs;
use report::Report;

const AFTER_HELP: &str = "\
Examples:
  slipway cache                                # all claims of pools, and the policy's node slots
  slipway cache -n ci -o json | jq '.claims[] | select(.state == \"free\") | .name'
  slipway cache evict -n ci slipway-fast-3     # it was poisoned: the next pod gets a new claim
  slipway cache evict -n ci --key arc-build    # all claims with the layers of one runner set

Only the node knows which pod uses a node slot, when the slot was last used, and how large it is. For slots
this shows what the policy says, and the pods that could use one.";

/// List the caches that outlive runner pods, or release or delete claims
///
/// Without a subcommand it lists the claims of pools, with their pods, last use, size, and how often a pod
/// found its own layers; and the node slots that the policy allows.
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
    /// The leader does this by itself; use the command when there is no leader. A claim that a live pod uses is
    /// left alone, and so is a claim that changes in the meantime.
    #[command(after_long_help = EXIT_CODES)]
    Release(ChangeArgs),
    /// Delete claims with their layers
    ///
    /// Use it for a cache that is corrupt, or that a job has poisoned. A claim that a live pod uses is left alone.
    #[command(after_long_help = EXIT_CODES)]
    Evict(EvictArgs),
}

/// List the caches that outlive runner pods
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    client: ClientArgs,

    /// Only list the caches of this namespace [default: all namespaces]
    #[arg(short, long, value_name = "NAME", env = "SLIPWAY_CACHE_NAMESPACE")]
    namespace: Option<String>,

    /// The policy file [default: the installed policy, or the built-in one]
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

    /// Evict all claims with the layers of this cache key
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
    let policy = args.policy.as_deref().map(PolicyFile::read).transpose()?;
    let survey = block_on(async {
        let client = args.client.client().await?;
        survey::survey(client, args, policy.map(|file| file.policy)).await
    })?;
    let report = Report::of(&survey);
    print(&match args.output {
        Format::Text => text::text(&report, Timestamp::now(), args.color.paint()),
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
    })?;
    Ok(ExitCode::from(u8::from(problem::any_error(
        &report.problems,
    ))))
}
