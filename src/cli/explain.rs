//! `slipway explain`: what is decided about each pod, and why.

mod text;

use clap::Args;
use serde_json::json;
use slipway_core::explain::report::Report;

use super::{
    EXIT_CODES,
    facts::FactsArgs,
    inject,
    input::{InputArgs, note_caveats},
    output::{Color, Format, print},
};

const AFTER_HELP: &str = "\
Examples:
  slipway explain -f runners.yaml --diff
  kubectl get pod build-x5qzn -n ci -o yaml | slipway explain --cluster -f -
  slipway explain -f runners.yaml -n team-a --nodes nodes.yaml --namespaces namespaces.yaml
  slipway explain -f runners.yaml -o json | jq -r '.pods[] | .name + \" \" + .strategy'

The JSON output is {\"pods\": [...]}; keys are added over time, never renamed or removed. Of each pod:
  file, kind, name, namespace  where it was found, and the namespace that was decided for
  rendered    whether it is what a controller would make of that resource
  system      the CI system; null for a pod that is no runner
  containers  [{name, type, role, image}]
                type: container | sidecar | init        role: runner | dockerd | other
  nodes       {candidates, known, summary}: how many nodes could run it, of how many
  profile     the policy's profile; null when none was selected
  strategy    containerd | docker-socket | dind | none
  socket      the host socket that is mounted; null for none
  reason      {code, message}: the reason that says most; codes are stable
  findings    [{strategy, supports, code, message}]: for and against each strategy, in order
  injections  what is put into the pod, in words
  notes       [{code, message}]: what was left out or changed on the way
  operations  how many operations the patch for the pod has";

/// Say what the webhook would decide about each pod of a manifest, and why
///
/// Reads the same manifests as `slipway inject`, and changes nothing.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    by: FactsArgs,

    /// What to print
    #[arg(short, long, value_enum, default_value_t, env = "SLIPWAY_OUTPUT")]
    output: Format,

    /// Print the change itself too, as a unified diff after the text
    #[arg(long)]
    diff: bool,

    /// When to colour the text
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let sources = args.input.sources()?;
    let items = args.input.items(&sources)?;
    let facts = args.by.facts(&items)?;
    note_caveats(&items);
    let mut reports = Vec::new();
    for item in &items {
        for subject in &item.subjects {
            let looked = subject.look(facts.cluster())?;
            reports.push(Report::new(item.file, subject, &looked, facts.cluster()));
        }
    }
    let text = match args.output {
        Format::Json => serde_json::to_string_pretty(&json!({ "pods": reports }))? + "\n",
        Format::Text => {
            let paint = args.color.paint();
            let texts: Vec<String> = reports.iter().map(|r| text::render(r, paint)).collect();
            let mut text = texts.join("\n");
            if args.diff {
                text.push('\n');
                text.push_str(&inject::changes(&items, &facts, paint)?);
            }
            text
        }
    };
    print(&text)?;
    Ok(())
}
