//! `slipway explain`: shows what is decided about each pod, and why.

mod text;

use clap::Args;
use serde_json::json;
use slipway_core::explain::report::Report;

use super::{
    EXIT_CODES,
    cluster::ClusterArgs,
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

The JSON output is {\"pods\": [...]}; keys may be added, but are never renamed or removed. Each pod has:
  file, kind, name, namespace  where it was found, and the namespace to decide for
  rendered    whether a controller would create it from that resource
  system      the CI system; null when it is not a runner pod
  containers  [{name, type, role, image}]
                type: container | sidecar | init        role: runner | dockerd | other
  nodes       {candidates, known, summary}: how many of the known nodes could run it
  profile     the policy's profile; null when none was selected
  strategy    containerd | docker-socket | dind | none
  socket      the host socket that is mounted; null when none is
  reason      {code, message}: the most important reason; codes are stable
  findings    [{strategy, supports, code, message}]: for and against each strategy, in order
  injections  what is added to the pod, in words
  notes       [{code, message}]: what was left out or changed
  operations  the number of operations in the patch for the pod";

/// Explain what the webhook would decide about each pod of a manifest, and why
///
/// It reads the same manifests as `slipway inject`, and changes nothing.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// What to print
    #[arg(short, long, value_enum, default_value_t, env = "SLIPWAY_OUTPUT")]
    output: Format,

    /// Also print the changes, as a unified diff after the text
    #[arg(long)]
    diff: bool,

    /// When to colour the text
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let files = args.input.read()?;
    let items = args.input.items(&files)?;
    let cluster = args.cluster.learn(&items)?;
    note_caveats(&items);
    let mut reports = Vec::new();
    for item in &items {
        for subject in &item.subjects {
            let evaluated = subject.evaluate(cluster.as_cluster())?;
            reports.push(Report::new(
                item.file,
                subject,
                &evaluated,
                cluster.as_cluster(),
            ));
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
                text.push_str(&inject::changes(&items, &cluster, paint)?);
            }
            text
        }
    };
    print(&text)?;
    Ok(())
}
