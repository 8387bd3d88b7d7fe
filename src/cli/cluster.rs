//! The cluster that `inject` and `explain` decide for: a real one, files, or the built-in example.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::anyhow;
use clap::Args;
use slipway_core::{
    decide::Cluster,
    explain::Item,
    k8s::{
        cluster_file,
        namespace::{INJECT, Namespace, Namespaces},
    },
    nodes::Snapshot,
    policy::Policy,
};

use super::{
    client::{ClientArgs, block_on},
    input::{BadInput, PolicyFile, TextFile},
    output::{count, note},
    queries::{SourcedPolicy, in_words},
};
use crate::cluster::watch;

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// Arguments that name the cluster to decide for.
#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    /// Decide for a cluster: read from it its nodes, its namespaces and the installed policy, except for those
    /// that a file gives
    #[arg(long, env = "SLIPWAY_CLUSTER")]
    cluster: bool,

    #[command(flatten)]
    client: ClientArgs,

    /// The namespace of that cluster in which Slipway is installed
    #[arg(
        long,
        value_name = "NAME",
        env = "SLIPWAY_INSTALLED_IN",
        default_value = "slipway-system"
    )]
    installed_in: String,

    /// The cluster's nodes, as `kubectl get nodes -o yaml` prints them [default: a built-in example]
    #[arg(long, value_name = "FILE", env = "SLIPWAY_NODES")]
    nodes: Option<PathBuf>,

    /// The cluster's namespaces and LimitRanges, as `kubectl get namespaces,limitranges,resourcequotas -A -o yaml`
    /// prints them [default: every namespace has opted in and allows privileged pods]
    #[arg(long, value_name = "FILE", env = "SLIPWAY_NAMESPACES")]
    namespaces: Option<PathBuf>,

    /// The policy file [default: the built-in policy]
    #[arg(long, value_name = "FILE", env = "SLIPWAY_POLICY")]
    policy: Option<PathBuf>,
}

/// A cluster as the command knows it.
#[derive(Debug)]
pub(super) struct KnownCluster {
    nodes: Snapshot,
    namespaces: Namespaces,
    policy: Policy,
}

impl KnownCluster {
    /// Returns the cluster as the core takes it.
    pub(super) fn as_cluster(&self) -> Cluster<'_> {
        Cluster {
            nodes: Some(&self.nodes),
            namespaces: &self.namespaces,
            policy: &self.policy,
            dead_mirrors: &[],
            claims: None,
        }
    }
}

/// What was read from a cluster; `None` for what a file gives.
#[derive(Default)]
struct Answers {
    nodes: Option<Snapshot>,
    namespaces: Option<Namespaces>,
    policy: Option<Policy>,
}

impl ClusterArgs {
    /// Learns what is needed to decide about these documents. Notes on standard error what is assumed.
    ///
    /// # Errors
    /// When a file cannot be used, or the cluster cannot be read.
    pub(super) fn learn(&self, items: &[Item<'_>]) -> anyhow::Result<KnownCluster> {
        let names: BTreeSet<&str> = items
            .iter()
            .flat_map(|item| &item.subjects)
            .map(|subject| subject.namespace.as_str())
            .collect();
        let answers = if self.cluster {
            block_on(self.ask())?
        } else {
            Answers::default()
        };
        let policy = match (&self.policy, answers.policy) {
            (Some(path), _) => PolicyFile::read(path)?.policy,
            (None, Some(policy)) => policy,
            (None, None) => Policy::default(),
        };
        Ok(KnownCluster {
            nodes: self.nodes(answers.nodes, &names)?,
            namespaces: self.namespaces(answers.namespaces, names)?,
            policy,
        })
    }

    fn nodes(
        &self,
        answered: Option<Snapshot>,
        names: &BTreeSet<&str>,
    ) -> Result<Snapshot, BadInput> {
        if let Some(path) = &self.nodes {
            let TextFile { name, text } = TextFile::read(path)?;
            return cluster_file::nodes(&text, &name).map_err(|error| BadInput(error.to_string()));
        }
        if let Some(nodes) = answered {
            return Ok(nodes);
        }
        let nodes = cluster_file::example_nodes().map_err(|error| BadInput(error.to_string()))?;
        if !names.is_empty() {
            let nodes = count(nodes.len(), "node");
            note(&format!(
                "without --cluster or --nodes: deciding for the built-in example cluster ({nodes})"
            ));
        }
        Ok(nodes)
    }

    fn namespaces(
        &self,
        answered: Option<Namespaces>,
        names: BTreeSet<&str>,
    ) -> Result<Namespaces, BadInput> {
        let (source, known) = match (&self.namespaces, answered) {
            (Some(path), _) => {
                let TextFile { name, text } = TextFile::read(path)?;
                let known = cluster_file::namespaces(&text, &name);
                (name, known.map_err(|error| BadInput(error.to_string()))?)
            }
            (None, Some(known)) => ("the cluster".to_owned(), known),
            (None, None) => {
                if !names.is_empty() {
                    note(
                        "without --cluster or --namespaces: every namespace counts as opted in, at Pod Security level privileged",
                    );
                }
                return Ok(Namespaces::new(names.into_iter().map(assumed)));
            }
        };
        for missing in names.iter().filter(|name| known.get(name).is_none()) {
            note(&format!(
                "{source}: it has no namespace `{missing}`, so the pods of that namespace get no host access"
            ));
        }
        Ok(known)
    }

    /// Reads from the cluster what no file gives.
    async fn ask(&self) -> anyhow::Result<Answers> {
        let client = self.client.client().await?;
        let mut answers = Answers::default();
        if self.nodes.is_none() {
            let nodes = watch::list_nodes(client.clone()).await;
            let nodes = nodes.map_err(|error| unreadable("nodes", &in_words(&error)))?;
            answers.nodes = Some(Snapshot::new(nodes));
        }
        if self.namespaces.is_none() {
            let namespaces = watch::list_namespaces(client.clone()).await;
            answers.namespaces =
                Some(namespaces.map_err(|error| unreadable("namespaces", &in_words(&error)))?);
        }
        if self.policy.is_none() {
            let SourcedPolicy { source, result } =
                SourcedPolicy::installed(&client, &self.installed_in).await;
            let policy = result.map_err(|error| unreadable("policy", &error))?;
            answers.policy = Some(policy.map_err(|error| anyhow!("{source}: {error}"))?);
        }
        Ok(answers)
    }
}

/// Creates the error for something that the cluster does not let the command read.
fn unreadable(what: &str, why: &str) -> anyhow::Error {
    anyhow!("failed to read the {what} of the cluster: {why}; --{what} reads a file instead")
}

/// Creates a namespace of which nothing is known: opted in, without limits.
fn assumed(name: &str) -> Namespace {
    let labels = [(INJECT, "enabled"), (ENFORCE, "privileged")];
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    Namespace {
        name: name.to_owned(),
        labels: BTreeMap::from(labels.map(owned)),
        ..Namespace::default()
    }
}
