//! `slipway version`: prints the version of this program, and of the one in the cluster.

use clap::Args;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{
    EXIT_CODES,
    client::{ClientArgs, block_on},
    output::{Format, note, print},
    queries::in_words,
};

/// The label in which the chart's objects have the version of the program.
const VERSION_LABEL: &str = "app.kubernetes.io/version";

const AFTER_HELP: &str = "\
Examples:
  slipway version
  slipway version --client
  slipway version -o json | jq -r .cluster

The cluster's version is the one that the installed chart is for: the label app.kubernetes.io/version of the
webhook configuration. An image tag of your own does not change it. Without a cluster, or without Slipway in
it, the version is `unavailable` (null in JSON), standard error says why, and the exit code is still 0.";

/// Print the version of this program, and of the one in the cluster
#[derive(Debug, Args)]
#[command(after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct VersionArgs {
    #[command(flatten)]
    cluster: ClientArgs,

    /// Print this program's version only, without asking a cluster
    #[arg(long)]
    client: bool,

    /// The name of the MutatingWebhookConfiguration
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
}

pub(super) fn run(args: &VersionArgs) -> anyhow::Result<()> {
    let client = env!("CARGO_PKG_VERSION");
    if args.client {
        print(&match args.output {
            Format::Text => format!("client  {client}\n"),
            Format::Json => format!("{:#}\n", json!({"client": client})),
        })?;
        return Ok(());
    }
    let cluster = installed(args)
        .inspect_err(|error| note(&format!("{error:#}")))
        .ok();
    print(&match args.output {
        Format::Text => {
            let cluster = cluster.as_deref().unwrap_or("unavailable");
            format!("client   {client}\ncluster  {cluster}\n")
        }
        Format::Json => format!("{:#}\n", json!({"client": client, "cluster": cluster})),
    })?;
    Ok(())
}

/// Returns the version that is installed in the cluster.
fn installed(args: &VersionArgs) -> anyhow::Result<String> {
    let name = &args.webhook_configuration;
    let found = block_on(async {
        let api: Api<MutatingWebhookConfiguration> = Api::all(args.cluster.client().await?);
        let found = api.get_metadata_opt(name).await;
        found.map_err(|error| {
            let words = in_words(&error);
            anyhow::Error::msg(format!(
                "failed to read the webhook configuration `{name}`: {words}"
            ))
        })
    })?;
    let Some(configuration) = found else {
        anyhow::bail!(
            "the cluster has no webhook configuration `{name}`: Slipway is not installed"
        );
    };
    let version = configuration.labels().get(VERSION_LABEL).cloned();
    version.ok_or_else(|| {
        anyhow::Error::msg(format!(
            "the webhook configuration `{name}` has no label {VERSION_LABEL}"
        ))
    })
}
