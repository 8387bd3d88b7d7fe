//! A pod in a document: the pod as the webhook would see it, and patches for it as patches for the
//! document.

use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Map, Value, json};

use super::kinds::{AddedLabels, Kind};

/// The JSON pointer of the annotation that says what was decided about a pod.
const STATUS_POINTER: &str = "/metadata/annotations/slipway.io~1status";
/// The JSON pointers of the number of pods: of a scale set, of a Job, of a ScaledJob, and of everything else.
const REPLICAS: [&str; 4] = [
    "/spec/maxRunners",
    "/spec/parallelism",
    "/spec/maxReplicaCount",
    "/spec/replicas",
];
const PATCHED: &str = "Slipway has changed it already, and what it added counts as the pod's own here: explain the template \
     of the pod to see what the next one gets";

/// A pod's location in a document, and what its controller adds to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLocation {
    /// The kind of the resource that holds it.
    pub kind: String,
    /// That resource's name.
    pub name: String,
    /// Its namespace, when it names one.
    pub namespace: Option<String>,
    /// The JSON pointer of that resource in the document.
    pub owner: String,
    /// The JSON pointer of the pod's `metadata` and `spec`.
    pub pod: String,
    /// True for a pod that is not in the document, but that a controller would create from it.
    pub rendered: bool,
    /// How many such pods the resource asks for at most, where it says so.
    pub replicas: Option<u64>,
    /// What people should know about this pod besides the decision.
    pub caveat: Option<&'static str>,
    /// The labels that the controller adds.
    added_labels: Vec<(&'static str, String)>,
}

impl PodLocation {
    fn of_resource(owner: &str, resource: &Value) -> Self {
        let text = |pointer| {
            let value = resource.pointer(pointer).and_then(Value::as_str);
            value.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let generated = || text("/metadata/generateName").map(|prefix| format!("{prefix}*"));
        Self {
            kind: String::new(),
            name: text("/metadata/name")
                .or_else(generated)
                .unwrap_or_else(|| "(no name)".to_owned()),
            namespace: text("/metadata/namespace"),
            owner: owner.to_owned(),
            pod: owner.to_owned(),
            rendered: false,
            replicas: REPLICAS
                .iter()
                .find_map(|pointer| resource.pointer(pointer)?.as_u64()),
            caveat: None,
            added_labels: Vec::new(),
        }
    }

    /// Creates the location of the pod that replaces a resource.
    pub(super) fn of_rendered(kind: &str, owner: &str, resource: &Value) -> Self {
        Self {
            kind: kind.to_owned(),
            rendered: true,
            ..Self::of_resource(owner, resource)
        }
    }

    /// Creates the location of the pod in a resource of this kind.
    pub(super) fn new(kind: &Kind, owner: &str, resource: &Value) -> Self {
        let location = Self::of_resource(owner, resource);
        let (added_labels, caveat) = match kind.added_labels {
            AddedLabels::None => {
                let status = resource.pointer(&format!("{}{STATUS_POINTER}", kind.pod));
                (Vec::new(), status.map(|_| PATCHED))
            }
            AddedLabels::ScaledJob => {
                let label = ("scaledjob.keda.sh/name", location.name.clone());
                (vec![label], None)
            }
            AddedLabels::ScaleSet => (scale_set_labels(resource, &location.name), None),
            AddedLabels::RunnerSet => {
                let labels = vec![
                    ("runnerset-name", location.name.clone()),
                    ("actions-runner", String::new()),
                ];
                let own_dockerd = resource.pointer("/spec/dockerEnabled") != Some(&json!(false))
                    && resource.pointer("/spec/dockerdWithinRunnerContainer") != Some(&json!(true));
                let caveat = own_dockerd.then_some(
                    "the controller adds a dockerd sidecar to the pods of a RunnerSet, which this file does not show: \
                     explain a running pod (kubectl get pod -o yaml) to see the decision with it",
                );
                (labels, caveat)
            }
        };
        Self {
            kind: kind.name.to_owned(),
            pod: format!("{owner}{}", kind.pod),
            caveat,
            added_labels,
            ..location
        }
    }

    /// Returns the pod as the webhook would see it: with the labels that its controller adds, and, if it
    /// is in a cluster already, without the node that the scheduler chose.
    #[must_use]
    pub fn pod(&self, content: &Value) -> Value {
        let part = |key: &str| {
            let value = content.pointer(&format!("{}/{key}", self.pod)).cloned();
            value
                .filter(|value| !value.is_null())
                .unwrap_or_else(|| json!({}))
        };
        let mut metadata = part("metadata");
        if let (false, Some(metadata)) = (self.added_labels.is_empty(), metadata.as_object_mut()) {
            let labels = metadata.entry("labels").or_insert(Value::Null);
            if labels.is_null() {
                *labels = Value::Object(Map::new());
            }
            for (key, value) in &self.added_labels {
                if let Some(labels) = labels.as_object_mut() {
                    labels.insert((*key).to_owned(), Value::from(value.as_str()));
                }
            }
        }
        let mut spec = part("spec");
        if metadata.get("uid").is_some()
            && let Some(spec) = spec.as_object_mut()
        {
            spec.shift_remove("nodeName");
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }

    /// Translates a patch for [`PodLocation::pod`] into one for the document.
    ///
    /// A pod always has `metadata`, but a template need not, so the patch creates what is missing first.
    #[must_use]
    pub fn rebase(&self, content: &Value, patch: &Patch) -> Patch {
        let mut missing: Vec<String> = ["/metadata", "/metadata/labels"]
            .iter()
            .map(|part| format!("{}{part}", self.pod))
            .filter(|part| content.pointer(part).is_none_or(Value::is_null))
            .collect();
        let mut operations = Vec::with_capacity(patch.0.len());
        for operation in &patch.0 {
            let operation = prefixed(&self.pod, operation);
            let target = operation.path().to_string();
            missing.retain(|part| {
                let needed = target
                    .strip_prefix(part.as_str())
                    .is_some_and(|p| p.starts_with('/'));
                if needed {
                    operations.push(PatchOperation::Add(AddOperation {
                        path: pointer(part.clone()),
                        value: json!({}),
                    }));
                }
                !needed && target != *part
            });
            operations.push(operation);
        }
        Patch(operations)
    }
}

/// Returns the labels that the controller of scale sets adds to its pods.
fn scale_set_labels(resource: &Value, name: &str) -> Vec<(&'static str, String)> {
    const NAME: &str = "actions.github.com/scale-set-name";
    let label = |labels: &str| {
        let labels = resource.pointer(labels)?;
        labels.get(NAME)?.as_str().map(str::to_owned)
    };
    let named = resource
        .pointer("/spec/runnerScaleSetName")
        .and_then(Value::as_str);
    let scale_set = label("/metadata/labels")
        .or_else(|| named.map(str::to_owned))
        .unwrap_or_else(|| name.to_owned());
    vec![
        ("actions-ephemeral-runner", "True".to_owned()),
        (NAME, scale_set),
        ("app.kubernetes.io/component", "runner".to_owned()),
    ]
}

/// Prefixes the pointers of an operation.
fn prefixed(prefix: &str, operation: &PatchOperation) -> PatchOperation {
    let rebased = |path: &PointerBuf| pointer(format!("{prefix}{path}"));
    let mut operation = operation.clone();
    match &mut operation {
        PatchOperation::Add(add) => add.path = rebased(&add.path),
        PatchOperation::Remove(remove) => remove.path = rebased(&remove.path),
        PatchOperation::Replace(replace) => replace.path = rebased(&replace.path),
        PatchOperation::Test(test) => test.path = rebased(&test.path),
        PatchOperation::Move(relocate) => {
            relocate.from = rebased(&relocate.from);
            relocate.path = rebased(&relocate.path);
        }
        PatchOperation::Copy(copy) => {
            copy.from = rebased(&copy.from);
            copy.path = rebased(&copy.path);
        }
    }
    operation
}

/// Parses a pointer that was joined from valid ones, which cannot fail.
fn pointer(text: String) -> PointerBuf {
    PointerBuf::parse(text).unwrap_or_default()
}
