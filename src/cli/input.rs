//! Files that people give: manifests with pods, policies, and any other text.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use slipway_core::{explain::Item, policy::Policy};

use super::output::note;

/// Input that cannot be used: which, where, and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadInput(pub(super) String);

/// What to look at.
#[derive(Debug, Args)]
pub(super) struct InputArgs {
    /// A manifest, YAML or JSON, with any number of documents; `-` is standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filenames: Vec<PathBuf>,

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
        Err(errors) => {
            let lines = errors.all().iter().map(|error| format!("{name}: {error}"));
            Err(BadInput(lines.collect::<Vec<_>>().join("\n")))
        }
    }
}

/// A text file with its name for people; `-` is standard input.
pub(super) fn read_text(path: &Path) -> Result<(String, String), BadInput> {
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
