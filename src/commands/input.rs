//! What `inject` and `explain` look at: manifests, and the facts to decide by.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;

use super::output::{count, note};
use crate::{
    decide::Cluster,
    explain::Item,
    fleet,
    manifest::{documents, workload::pointer_of},
    namespace::{INJECT, Namespace, Namespaces},
    nodes::Snapshot,
    policy::{Policy, PolicyError},
    pool::Pools,
};

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// Input that cannot be used: which, where, and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadInput(pub(super) String);

/// What to look at, and what to decide by.
#[derive(Debug, Args)]
pub(super) struct InputArgs {
    /// A manifest, YAML or JSON, with any number of documents; `-` is standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filenames: Vec<PathBuf>,

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

    /// Decide as if every pod were created in this namespace [default: the pod's own, else `default`]
    #[arg(short, long, value_name = "NAME", env = "SLIPWAY_NAMESPACE")]
    namespace: Option<String>,
}

/// A file, read.
#[derive(Debug)]
pub(super) struct Source {
    /// Its name, for people.
    name: String,
    text: String,
}

/// The facts to decide by.
#[derive(Debug)]
pub(super) struct Facts {
    nodes: Snapshot,
    namespaces: Namespaces,
    policy: Policy,
}

#[cfg(test)]
impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }
}

impl InputArgs {
    /// Reads the manifests.
    pub(super) fn sources(&self) -> Result<Vec<Source>, BadInput> {
        let named = |path: &PathBuf| {
            let (name, text) = read_text(path)?;
            Ok(Source { name, text })
        };
        self.filenames.iter().map(named).collect()
    }

    /// The documents of the manifests.
    pub(super) fn items<'s>(&self, sources: &'s [Source]) -> Result<Vec<Item<'s>>, BadInput> {
        let mut items = Vec::new();
        for source in sources {
            let bad = |error| BadInput(format!("{}: {error}", source.name));
            let namespace = self.namespace.as_deref();
            items.extend(Item::read_all(&source.name, &source.text, namespace).map_err(bad)?);
        }
        Ok(items)
    }

    /// The facts to decide about these documents by. Says what is assumed.
    pub(super) fn facts(&self, items: &[Item<'_>]) -> Result<Facts, BadInput> {
        let names: BTreeSet<&str> = items
            .iter()
            .flat_map(|item| &item.subjects)
            .map(|subject| subject.namespace.as_str())
            .collect();
        let policy = match &self.policy {
            Some(path) => read_policy(path)?.1,
            None => Policy::default(),
        };
        let nodes = if let Some(path) = &self.nodes {
            let (name, text) = read_text(path)?;
            fleet::nodes(&text, &name).map_err(|error| BadInput(error.to_string()))?
        } else {
            let nodes = fleet::example_nodes().map_err(|error| BadInput(error.to_string()))?;
            if !names.is_empty() {
                let nodes = count(nodes.len(), "node");
                note(&format!(
                    "without --nodes: deciding for a built-in example cluster ({nodes})"
                ));
            }
            nodes
        };
        let namespaces = if let Some(path) = &self.namespaces {
            let (name, text) = read_text(path)?;
            let known = fleet::namespaces(&text, &name).map_err(|e| BadInput(e.to_string()))?;
            for missing in names.iter().filter(|name| known.get(name).is_none()) {
                note(&format!(
                    "{name}: namespace `{missing}` is not in it, so its pods get no host access"
                ));
            }
            known
        } else {
            if !names.is_empty() {
                note(
                    "without --namespaces: every namespace counts as opted in, at Pod Security level privileged",
                );
            }
            Namespaces::new(names.into_iter().map(assumed))
        };
        Ok(Facts {
            nodes,
            namespaces,
            policy,
        })
    }
}

/// A namespace of which nothing is said: opted in, without limits.
fn assumed(name: &str) -> Namespace {
    let labels = [(INJECT, "enabled"), (ENFORCE, "privileged")];
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    Namespace {
        name: name.to_owned(),
        labels: BTreeMap::from(labels.map(owned)),
        ..Namespace::default()
    }
}

impl Facts {
    /// The facts as the core takes them.
    pub(super) fn cluster(&self) -> Cluster<'_> {
        Cluster {
            nodes: Some(&self.nodes),
            namespaces: &self.namespaces,
            policy: &self.policy,
            dead_mirrors: &[],
            pools: Pools::default(),
        }
    }
}

/// Says that there is nothing to look at, or what people should know of single pods.
pub(super) fn note_caveats(items: &[Item<'_>]) {
    if items.iter().all(|item| item.subjects.is_empty()) {
        note("there are no pods in the input");
    }
    for item in items {
        for subject in &item.subjects {
            let say = |what: &str| note(&format!("{}: {}: {what}", item.file, subject.title()));
            if subject.place.rendered {
                say("shown as the pod that its controller makes of it");
            }
            if let Some(caveat) = subject.place.caveat {
                say(caveat);
            }
        }
    }
}

/// A policy file, with its name for people.
pub(super) fn read_policy(path: &Path) -> Result<(String, Policy), BadInput> {
    let (name, text) = read_text(path)?;
    match Policy::parse(&text) {
        Ok(policy) => Ok((name, policy)),
        Err(error) => Err(BadInput(format!("{name}: {}", located(&text, &error)))),
    }
}

/// The error with its line: the policy's own checks know the key alone.
fn located(text: &str, error: &PolicyError) -> String {
    let PolicyError::Key { path, .. } = error else {
        return error.to_string();
    };
    let documents = documents::read(text).unwrap_or_default();
    let document = documents.iter().find(|document| document.value.is_some());
    document.map_or_else(
        || error.to_string(),
        |document| {
            document
                .error_at(&pointer_of(path), error.to_string())
                .to_string()
        },
    )
}

/// A text file with its name for people; `-` is standard input.
fn read_text(path: &Path) -> Result<(String, String), BadInput> {
    let stdin = path == Path::new("-");
    let name = if stdin {
        "<stdin>".into()
    } else {
        path.display().to_string()
    };
    let bytes = if stdin {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    let bytes = bytes.map_err(|error| BadInput(format!("{name}: failed to read it: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error
            .as_bytes()
            .iter()
            .take(valid)
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        BadInput(format!(
            "{name}: line {line}: expected UTF-8 text, found other bytes"
        ))
    })?;
    Ok((name, text))
}
