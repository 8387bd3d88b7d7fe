//! `slipway check`: says whether Slipway would work in a cluster, and whether it does.

mod rules;
mod sockets;
mod summary;
mod survey;

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::json;

use super::{
    EXIT_CODES,
    client::{ClientArgs, block_on},
    input::PolicyFile,
    output::{Color, Format, Paint, print},
    problem::{self, Problem},
    queries::SourcedPolicy,
};
use survey::{Survey, survey};

const AFTER_HELP: &str = "\
Examples:
  slipway check
  slipway check --policy policy.yaml     # before installing: would this policy work here?
  slipway check -o json | jq -r '.problems[] | .about + \": \" + .what'

It checks the API server's version; the runtimes that nodes report; the policy; the namespaces that have
opted in, with their Pod Security levels, LimitRanges and the claims that their profiles name; the webhook
configuration, its CA and the replicas behind it; and whether the runner pods that exist now went through
the webhook. It names what it may not read, and skips it.";

/// Check whether Slipway would work in a cluster, and whether it does
#[derive(Debug, Args)]
#[command(after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct CheckArgs {
    #[command(flatten)]
    client: ClientArgs,

    /// The policy file [default: the installed policy, or the built-in one]
    #[arg(long, value_name = "FILE", env = "SLIPWAY_POLICY")]
    policy: Option<PathBuf>,

    /// The namespace in which Slipway is, or will be, installed
    #[arg(
        short,
        long,
        value_name = "NAME",
        env = "SLIPWAY_NAMESPACE",
        default_value = "slipway-system"
    )]
    namespace: String,

    /// The name of its MutatingWebhookConfiguration
    #[arg(
        long,
        value_name = "NAME",
        env = "SLIPWAY_WEBHOOK_CONFIGURATION",
        default_value = "slipway"
    )]
    webhook_configuration: String,

    /// What to print
    #[arg(short, long, value_enum, default_value_t, env = "SLIPWAY_OUTPUT")]
    output: Format,

    /// When to colour the text
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let policy = args.policy.as_deref().map(PolicyFile::read).transpose()?;
    let survey = block_on(async {
        let client = args.client.client().await?;
        survey(client, args, policy.map(SourcedPolicy::from)).await
    })?;
    let problems = rules::problems(&survey);
    print(&match args.output {
        Format::Text => text(&survey, &problems, args.color.paint()),
        Format::Json => {
            let report = json!({"summary": summary::summary(&survey), "problems": problems});
            serde_json::to_string_pretty(&report)? + "\n"
        }
    })?;
    Ok(ExitCode::from(u8::from(problem::any_error(&problems))))
}

fn text(survey: &Survey, problems: &[Problem], paint: Paint) -> String {
    let summary = summary::summary(survey);
    let width = summary.keys().map(String::len).max().unwrap_or_default();
    let lines = summary.iter().map(|(name, words)| {
        let words = words.as_str().unwrap_or_default();
        format!("{}  {words}\n", paint.bold(&format!("{name:width$}")))
    });
    lines.collect::<String>() + "\n" + &problem::text(problems, paint)
}
