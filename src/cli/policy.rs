//! `slipway policy`: checks the policy file, and prints its JSON Schema.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use slipway_core::policy::Policy;

use super::{
    EXIT_CODES,
    input::PolicyFile,
    output::{count, print},
};

/// Check the policy file, or describe it
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    Check(CheckArgs),
    /// Print the policy file's JSON Schema
    ///
    /// Editors use it to check and complete a policy file: `slipway policy schema > slipway-policy.schema.json`
    Schema,
}

const AFTER_HELP: &str = "\
Examples:
  slipway policy check policy.yaml
  kubectl get configmap slipway-policy -n slipway-system -o jsonpath='{.data.policy\\.yaml}' | slipway policy check -";

/// Check whether a policy file is valid, and name settings that have no effect
#[derive(Debug, Args)]
#[command(after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct CheckArgs {
    /// The policy file; `-` is standard input
    file: PathBuf,
}

pub(super) fn run(command: &PolicyCommand) -> anyhow::Result<()> {
    let text = match command {
        PolicyCommand::Check(args) => check(args)?,
        PolicyCommand::Schema => serde_json::to_string_pretty(&Policy::schema())? + "\n",
    };
    print(&text)?;
    Ok(())
}

fn check(args: &CheckArgs) -> anyhow::Result<String> {
    let PolicyFile { name, policy } = PolicyFile::read(&args.file)?;
    let profiles = count(policy.profile_names().count(), "profile");
    let warnings = policy.warnings();
    let warnings = warnings
        .iter()
        .map(|warning| format!("{name}: warning: {warning}\n"));
    Ok(format!("{name}: ok, {profiles}\n") + &warnings.collect::<String>())
}
