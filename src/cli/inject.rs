//! `slipway inject`: prints manifests with their pods patched as the webhook would.

mod render;

use clap::{Args, ValueEnum};
use slipway_core::{
    admission::Evaluation,
    decide::Outcome,
    explain::{Item, change::inject_all},
};

use super::{
    EXIT_CODES,
    cluster::{ClusterArgs, KnownCluster},
    input::{InputArgs, note_caveats},
    output::{Color, Paint, count, note, print},
};

const AFTER_HELP: &str = "\
Examples:
  slipway inject -f runners.yaml | kubectl apply -f -
  slipway inject -f runners.yaml -o diff
  kubectl get pod build-x5qzn -n ci -o yaml | slipway inject -f -
  slipway inject -f runners.yaml --cluster -o patch
  slipway inject -f runners.yaml --nodes <(kubectl get nodes -o yaml) --policy policy.yaml -o patch";

/// Print manifests with their runner pods as the webhook would change them
///
/// It finds pods in Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers, Jobs,
/// CronJobs, PodTemplates and Lists, in KEDA's ScaledJobs, and in the Actions Runner Controllers' AutoscalingRunnerSet,
/// EphemeralRunnerSet, EphemeralRunner and RunnerSet. A RunnerDeployment or a Runner is not a template of its pods: it is replaced by
/// the pod that its controller creates from it. Everything else is printed unchanged, byte for byte.
///
/// Standard error gets a line for each pod with what was decided.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct InjectArgs {
    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// What to print
    #[arg(short, long, value_enum, default_value_t, env = "SLIPWAY_OUTPUT")]
    output: Output,

    /// When to colour a diff
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The documents; those without a changed pod stay the same, byte for byte
    #[default]
    Yaml,
    /// The documents as one JSON document; several of them as a List
    Json,
    /// Only the changes: an RFC 6902 array for each pod that changes, `[]` when none does
    Patch,
    /// The changes as a unified diff of the YAML
    Diff,
}

pub(super) fn run(args: &InjectArgs) -> anyhow::Result<()> {
    let files = args.input.read()?;
    let items = args.input.items(&files)?;
    let cluster = args.cluster.learn(&items)?;
    note_caveats(&items);
    let documents = inject_all(&items, cluster.as_cluster(), |title, evaluation| {
        note(&format!("{title}: {}", summary(evaluation)));
    })?;
    let text = match args.output {
        Output::Yaml => render::yaml(&documents),
        Output::Json => render::json(&documents)?,
        Output::Patch => render::patches(&documents)?,
        Output::Diff => render::diff(&documents, args.color.paint()),
    };
    print(&text)?;
    Ok(())
}

/// Renders the changes of all documents as a unified diff.
pub(super) fn changes(
    items: &[Item<'_>],
    cluster: &KnownCluster,
    paint: Paint,
) -> anyhow::Result<String> {
    let documents = inject_all(items, cluster.as_cluster(), |_, _| ())?;
    Ok(render::diff(&documents, paint))
}

/// Says in a line what was decided.
fn summary(evaluation: &Evaluation<'_>) -> String {
    let decision = &evaluation.decision;
    match &decision.outcome {
        Outcome::Leave(reason) => format!("left alone: {reason}"),
        Outcome::Apply(plan) => format!(
            "{} (profile {}): {}",
            plan.strategy,
            decision.profile.unwrap_or_default(),
            count(evaluation.changes.len(), "change")
        ),
    }
}
