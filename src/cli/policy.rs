//! `slipway policy`: the policy file, checked and described.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use slipway_core::policy::Policy;

use super::{
    EXIT_CODES,
    input::read_policy,
    output::{count, print},
};

/// Check the policy file, or describe it
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    Check(CheckArgs),
    /// Print the policy file's JSON Schema
    ///
    /// Editors check and complete a policy file by it: `slipway policy schema > slipway-policy.schema.json`
    Schema,
}

const AFTER_HELP: &str = "\
Examples:
  slipway policy check policy.yaml
  kubectl get configmap slipway-policy -n slipway-system -o jsonpath='{.data.policy\\.yaml}' | slipway policy check -";

/// Say whether a policy file would be accepted, and what in it does nothing
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
    let (name, policy) = read_policy(&args.file)?;
    let profiles = count(policy.profile_names().count(), "profile");
    let warnings = policy.warnings();
    let warnings = warnings
        .iter()
        .map(|warning| format!("{name}: warning: {warning}\n"));
    Ok(format!("{name}: ok, {profiles}\n") + &warnings.collect::<String>())
}
