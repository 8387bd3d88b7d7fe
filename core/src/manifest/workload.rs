//! Finds the pods in a document: in Pods, in the templates of workloads, in lists of them, and in the
//! resources of both Actions Runner Controllers.
//!
//! The webhook's decision is made for a copy of the pod that has what its controller adds. The patch for
//! the copy is then translated into one for the document, which changes nothing else.

use serde_json::Value;

use super::{
    arc,
    kinds::{Kind, LEGACY_GROUP},
    pod_location::PodLocation,
    pointer::{dotted, pointer_of},
    type_error::type_name,
};

#[cfg(test)]
mod tests;

/// A document's content, and the locations of its pods.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The content. A resource that is not a template of its pod is replaced by the pod.
    pub content: Value,
    /// Its pods, in order.
    pub pods: Vec<PodLocation>,
}

/// The reason why a document's pods cannot be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WorkloadError {
    /// The JSON pointer of the value.
    pub pointer: String,
    /// What was expected there, and what was found.
    pub message: String,
}

impl WorkloadError {
    fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

impl Workload {
    /// Finds the pods in a document's content.
    ///
    /// # Errors
    /// When the content is not a Kubernetes resource, or lacks the pod that its kind has.
    pub fn new(content: Value) -> Result<Self, WorkloadError> {
        let mut workload = Self {
            content,
            pods: Vec::new(),
        };
        workload.find("", "")?;
        Ok(workload)
    }

    /// Finds the pods in the resource at `owner`. `item_kind` is its kind if a typed list leaves it out.
    fn find(&mut self, owner: &str, item_kind: &str) -> Result<(), WorkloadError> {
        let resource = self.content.pointer(owner).unwrap_or(&Value::Null);
        if !resource.is_object() {
            let found = type_name(resource);
            return Err(WorkloadError::new(
                owner,
                format!(
                    "expected a Kubernetes resource (a mapping with apiVersion and kind), found {found}"
                ),
            ));
        }
        let text = |key| resource.get(key).and_then(Value::as_str);
        let kind = text("kind").unwrap_or(item_kind).to_owned();
        if kind.is_empty() {
            return Err(WorkloadError::new(
                owner,
                "expected a Kubernetes resource, found a mapping without `kind`",
            ));
        }
        let group = text("apiVersion").map(|version| {
            let (group, _) = version.split_once('/').unwrap_or_default();
            group.to_owned()
        });
        let items = resource.get("items").and_then(Value::as_array);
        if let (Some(item_kind), Some(items)) = (kind.strip_suffix("List"), items) {
            return (0..items.len())
                .try_for_each(|i| self.find(&format!("{owner}/items/{i}"), item_kind));
        }
        if group.as_deref() == Some(LEGACY_GROUP)
            && (kind == "RunnerDeployment" || kind == "Runner")
        {
            return self.render(owner, &kind);
        }
        if let Some(kind) = Kind::find(&kind, group.as_deref()) {
            let location = PodLocation::new(kind, owner, resource);
            let spec = format!("{}/spec", location.pod);
            for pointer in [&location.pod, &spec] {
                self.expect_mapping(pointer, kind.name)?;
            }
            self.pods.push(location);
        }
        Ok(())
    }

    fn expect_mapping(&self, pointer: &str, kind: &str) -> Result<(), WorkloadError> {
        let value = self.content.pointer(pointer);
        if value.is_some_and(Value::is_object) {
            return Ok(());
        }
        let found = value.map_or("nothing", type_name);
        let path = dotted(pointer);
        Err(WorkloadError::new(
            pointer,
            format!("{path}: expected a mapping, as every {kind} has there, found {found}"),
        ))
    }

    /// Replaces a resource by the pod that the legacy controller creates from it.
    fn render(&mut self, owner: &str, kind: &str) -> Result<(), WorkloadError> {
        let Some(resource) = self.content.pointer_mut(owner) else {
            return Ok(());
        };
        let rendered = arc::runner_pod(resource).map_err(|error| {
            let path = match &error {
                arc::ArcError::NotARunner { .. } => "",
                arc::ArcError::WrongType { path, .. } | arc::ArcError::Refused { path, .. } => path,
            };
            WorkloadError::new(format!("{owner}{}", pointer_of(path)), error.to_string())
        })?;
        self.pods
            .push(PodLocation::of_rendered(kind, owner, resource));
        *resource = rendered;
        Ok(())
    }
}
