//! Applies the patches of pods to their documents, and shows the differences.

use imara_diff::{Algorithm, BasicLineDiffPrinter, Diff, InternedInput, UnifiedDiffConfig};
use json_patch::Patch;
use serde_json::Value;

use super::{Item, Subject};
use crate::{admission::Evaluation, decide::Cluster, manifest::documents::to_yaml};

/// A document whose pods are being patched.
#[derive(Debug)]
pub struct Injected<'i> {
    /// The document.
    pub item: &'i Item<'i>,
    /// The patched content; `None` for an empty document.
    pub content: Option<Value>,
    /// The pods that change, each with its patch, whose paths start at the document's root.
    pub patches: Vec<(&'i Subject, Patch)>,
}

/// A patch that failed to apply, which only a bug can cause.
#[derive(Debug, thiserror::Error)]
#[error("{title}: failed to apply the patch, which should never happen; please report it: {cause}")]
pub struct ChangeError {
    title: String,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl<'i> Injected<'i> {
    /// Starts with the unchanged document.
    #[must_use]
    pub fn new(item: &'i Item<'i>) -> Self {
        Self {
            item,
            content: item.content.clone(),
            patches: Vec::new(),
        }
    }

    /// Applies the patch of one of the document's pods.
    ///
    /// # Errors
    /// Returns an error if the patch does not fit the pod.
    pub fn apply(
        &mut self,
        subject: &'i Subject,
        patch: &Patch,
    ) -> Result<(), json_patch::PatchError> {
        let Some(content) = self.content.as_mut().filter(|_| !patch.0.is_empty()) else {
            return Ok(());
        };
        let patch = subject.location.rebase(content, patch);
        json_patch::patch(content, &patch)?;
        self.patches.push((subject, patch));
        Ok(())
    }

    /// Returns the pods that change, in order, each with a unified diff of its object as YAML.
    pub fn diffs(&self) -> impl Iterator<Item = (&'i Subject, String)> {
        let part = |content: &Option<Value>, pointer: &str| {
            let part = content
                .as_ref()
                .and_then(|content| content.pointer(pointer));
            part.map(to_yaml).unwrap_or_default()
        };
        self.patches.iter().map(move |(subject, _)| {
            let owner = &subject.location.owner;
            let before = part(&self.item.content, owner);
            let after = part(&self.content, owner);
            let title = format!("{} {}", self.item.file, subject.title());
            (*subject, unified_diff(&title, &before, &after))
        })
    }
}

/// Returns a unified diff with three lines of context; empty if nothing changes.
fn unified_diff(title: &str, before: &str, after: &str) -> String {
    let input = InternedInput::new(before, after);
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let printer = BasicLineDiffPrinter(&input.interner);
    let hunks = diff.unified_diff(&printer, UnifiedDiffConfig::default(), &input);
    match hunks.to_string() {
        hunks if hunks.is_empty() => hunks,
        hunks => format!("--- {title}\n+++ {title} (injected)\n{hunks}"),
    }
}

/// Patches the pods of all documents. Calls `evaluated` with each pod's title and evaluation.
///
/// # Errors
/// Returns an error if a patch does not fit its pod, which only a bug can cause.
pub fn inject_all<'i>(
    items: &'i [Item<'i>],
    cluster: Cluster<'_>,
    evaluated: impl Fn(&str, &Evaluation<'_>),
) -> Result<Vec<Injected<'i>>, ChangeError> {
    let mut documents = Vec::with_capacity(items.len());
    for item in items {
        let mut injected = Injected::new(item);
        for subject in &item.subjects {
            let title = format!("{}: {}", item.file, subject.title());
            let failed = |cause| ChangeError {
                title: title.clone(),
                cause,
            };
            let evaluation = subject
                .evaluate(cluster)
                .map_err(|error| failed(error.into()))?
                .evaluation;
            let patch = evaluation
                .patch
                .to_patch()
                .map_err(|error| failed(error.into()))?;
            injected
                .apply(subject, &patch)
                .map_err(|error| failed(error.into()))?;
            evaluated(&title, &evaluation);
        }
        documents.push(injected);
    }
    Ok(documents)
}
