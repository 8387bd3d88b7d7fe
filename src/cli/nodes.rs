//! `slipway nodes`: shows what each node reports about its container runtime.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use slipway_core::{
    k8s::cluster_file,
    nodes::{NodeObject, RUNTIME_LABEL, RuntimeFacts, RuntimeKind},
};

use super::{
    EXIT_CODES,
    client::{ClientArgs, block_on},
    input::{BadInput, TextFile},
    output::{Color, Format, Paint, print, table},
    problem::{self, Problem},
};
use crate::cluster::watch;

const AFTER_HELP: &str = "\
Examples:
  slipway nodes
  kubectl get nodes -o json | slipway nodes --nodes - -o json";

/// Show what each node reports about its container runtime
///
/// A pod gets a host socket only if the nodes that could run it agree on the runtime's kind and its socket,
/// and nothing there forbids its use.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct NodesArgs {
    /// Read the nodes from a file, as `kubectl get nodes -o yaml` prints them, instead of a cluster; `-` is
    /// standard input
    #[arg(long, value_name = "FILE", env = "SLIPWAY_NODES")]
    nodes: Option<PathBuf>,

    #[command(flatten)]
    client: ClientArgs,

    /// What to print
    #[arg(short, long, value_enum, default_value_t, env = "SLIPWAY_OUTPUT")]
    output: Format,

    /// When to colour the text
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

pub(super) fn run(args: &NodesArgs) -> anyhow::Result<ExitCode> {
    let nodes = match &args.nodes {
        Some(path) => from_file(path)?,
        None => block_on(async {
            let client = args.client.client().await?;
            let nodes = watch::list_nodes(client).await;
            nodes.context("failed to list the nodes")
        })?,
    };
    let problems = problems(&nodes);
    print(&match args.output {
        Format::Text => text(&nodes, &problems, args.color.paint()),
        Format::Json => {
            let nodes: Vec<Value> = nodes.iter().map(as_json).collect();
            let report = json!({"nodes": nodes, "problems": problems});
            serde_json::to_string_pretty(&report)? + "\n"
        }
    })?;
    Ok(ExitCode::from(u8::from(problem::any_error(&problems))))
}

fn from_file(path: &Path) -> anyhow::Result<Vec<NodeObject>> {
    let TextFile { name, text } = TextFile::read(path)?;
    Ok(cluster_file::node_objects(&text, &name).map_err(|error| BadInput(error.to_string()))?)
}

/// Finds nodes that could give pods a host socket, but do not.
pub(super) fn problems(nodes: &[NodeObject]) -> Vec<Problem> {
    if nodes.is_empty() {
        return vec![Problem::warning(
            "cluster",
            "it has no nodes, so no pod gets a host socket",
            "declare node pools that may be empty under `nodePools` in the policy",
        )];
    }
    let unknown = nodes.iter().filter(|node| {
        let facts = RuntimeFacts::of(node);
        facts.kind == RuntimeKind::Unknown && facts.restriction.is_none()
    });
    unknown
        .map(|node| {
            let reported = &node.status.node_info.container_runtime_version;
            Problem::error(
                &format!("node {}", node.metadata.name),
                format!("its runtime `{reported}` is unknown, so pods that could run there get no host socket"),
                format!(
                    "if it runs containerd or Docker Engine: kubectl label node {} {RUNTIME_LABEL}=containerd",
                    node.metadata.name
                ),
            )
        })
        .collect()
}

fn text(nodes: &[NodeObject], problems: &[Problem], paint: Paint) -> String {
    let header = ["NODE", "RUNTIME", "VERSION", "SOCKET", "KUBELET", "NOTE"];
    let rows = nodes.iter().map(|node| {
        let facts = RuntimeFacts::of(node);
        [
            node.metadata.name.clone(),
            facts.kind.name().to_owned(),
            version(node).to_owned(),
            facts.socket.unwrap_or_else(|| "-".to_owned()),
            node.status.node_info.kubelet_version.clone(),
            note(node),
        ]
    });
    table(header, rows, paint) + "\n" + &problem::text(problems, paint)
}

fn version(node: &NodeObject) -> &str {
    let reported = &node.status.node_info.container_runtime_version;
    reported
        .split_once("://")
        .map_or("", |(_, version)| version)
}

fn note(node: &NodeObject) -> String {
    let restriction = RuntimeFacts::of(node).restriction;
    let notes = [
        restriction.map(|restriction| format!("no host access: {restriction}")),
        node.spec.unschedulable.then(|| "cordoned".to_owned()),
    ];
    notes.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn as_json(node: &NodeObject) -> Value {
    let facts = RuntimeFacts::of(node);
    json!({
        "name": node.metadata.name,
        "runtime": facts.kind,
        "version": version(node),
        "socket": facts.socket,
        "kubeletVersion": node.status.node_info.kubelet_version,
        "restriction": facts.restriction.map(|restriction| restriction.to_string()),
        "schedulable": !node.spec.unschedulable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, runtime: &str) -> NodeObject {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"unschedulable": name == "old"},
            "status": {"nodeInfo": {"containerRuntimeVersion": runtime, "kubeletVersion": "v1.34.1"}}
        }))
        .unwrap()
    }

    #[test]
    fn each_node_has_a_row_and_each_unknown_runtime_a_remedy() {
        let nodes = [node("new", "containerd://2.1.4"), node("old", "frob://1")];
        let problems = problems(&nodes);
        assert!(problem::any_error(&problems));
        assert_eq!(
            text(&nodes, &problems, Paint::NONE),
            "\
NODE  RUNTIME     VERSION  SOCKET                           KUBELET  NOTE
new   containerd  2.1.4    /run/containerd/containerd.sock  v1.34.1
old   unknown     1        -                                v1.34.1  cordoned

error    node old: its runtime `frob://1` is unknown, so pods that could run there get no host socket
         do: if it runs containerd or Docker Engine: kubectl label node old slipway.io/container-runtime=containerd
1 error
"
        );
    }

    #[test]
    fn a_cluster_without_nodes_is_not_an_error() {
        assert!(!problem::any_error(&problems(&[])));
    }
}
