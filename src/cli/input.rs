//! The files that commands read: manifests with pods, policies, and other text.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use slipway_core::{explain::Item, policy::Policy};

use super::output::note;

/// Input that cannot be used: the file, the position in it, and what was expected there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadInput(pub(super) String);

/// Arguments that name the manifests.
#[derive(Debug, Args)]
pub(super) struct InputArgs {
    /// A manifest in YAML or JSON, with any number of documents; `-` is standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filenames: Vec<PathBuf>,

    /// Decide as if every pod were created in this namespace [default: the pod's own, else `default`]
    #[arg(short, long, value_name = "NAME", env = "SLIPWAY_NAMESPACE")]
    namespace: Option<String>,
}

/// A text file that was read.
#[derive(Debug)]
pub(super) struct TextFile {
    /// The name for people: the path, or `<stdin>`.
    pub(super) name: String,
    pub(super) text: String,
}

/// A valid policy file.
#[derive(Debug)]
pub(super) struct PolicyFile {
    /// The name for people.
    pub(super) name: String,
    pub(super) policy: Policy,
}

impl InputArgs {
    /// Reads the manifests.
    pub(super) fn read(&self) -> Result<Vec<TextFile>, BadInput> {
        let paths = self.filenames.iter();
        paths.map(|path| TextFile::read(path)).collect()
    }

    /// Parses the documents of the manifests. It is an error if they have none: the command that should have
    /// written them failed.
    pub(super) fn items<'s>(&self, files: &'s [TextFile]) -> Result<Vec<Item<'s>>, BadInput> {
        let mut items = Vec::new();
        for TextFile { name, text } in files {
            let bad = |error| BadInput(format!("{name}: {error}"));
            let namespace = self.namespace.as_deref();
            items.extend(Item::read_all(name, text, namespace).map_err(bad)?);
        }
        if items.iter().all(|item| item.content.is_none()) {
            let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
            let names = names.join(", ");
            return Err(BadInput(format!(
                "{names}: expected a Kubernetes resource, found nothing"
            )));
        }
        Ok(items)
    }
}

/// Notes on standard error that there are no pods, or what people should know about single pods.
pub(super) fn note_caveats(items: &[Item<'_>]) {
    if items.iter().all(|item| item.subjects.is_empty()) {
        note("there are no pods in the input");
    }
    for item in items {
        for subject in &item.subjects {
            let say = |what: &str| note(&format!("{}: {}: {what}", item.file, subject.title()));
            if subject.location.rendered {
                say("shown as the pod that its controller creates from it");
            }
            if let Some(caveat) = subject.location.caveat {
                say(caveat);
            }
        }
    }
}

impl PolicyFile {
    /// Reads and checks a policy file.
    pub(super) fn read(path: &Path) -> Result<Self, BadInput> {
        let TextFile { name, text } = TextFile::read(path)?;
        match Policy::parse(&text) {
            Ok(policy) => Ok(Self { name, policy }),
            Err(errors) => {
                let lines = errors.all().iter().map(|error| format!("{name}: {error}"));
                Err(BadInput(lines.collect::<Vec<_>>().join("\n")))
            }
        }
    }
}

impl TextFile {
    /// Reads a text file; `-` is standard input.
    pub(super) fn read(path: &Path) -> Result<Self, BadInput> {
        let is_stdin = path == Path::new("-");
        let name = if is_stdin {
            "<stdin>".into()
        } else {
            path.display().to_string()
        };
        let bytes = if is_stdin {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes).map(|_| bytes)
        } else {
            fs::read(path)
        };
        let bytes =
            bytes.map_err(|error| BadInput(format!("{name}: failed to read it: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let before = error.as_bytes().iter().take(valid);
            let line = before.filter(|byte| **byte == b'\n').count() + 1;
            BadInput(format!(
                "{name}: line {line}: expected UTF-8 text, found other bytes"
            ))
        })?;
        Ok(Self { name, text })
    }
}
