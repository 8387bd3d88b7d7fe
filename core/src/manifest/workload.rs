//! Where the pods are: in Pods themselves, in the templates of workloads, in lists of them, and in
//! the resources of the two Actions Runner Controllers.
//!
//! A pod is looked at in a copy that has what its controller adds; the patch for the copy is then
//! re-based onto the document, where nothing but the patch is changed.

use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Map, Value, json};

use super::arc;

#[cfg(test)]
mod tests;

/// A kind of resource that holds a pod.
struct Kind {
    groups: &'static [&'static str],
    name: &'static str,
    /// Where `metadata` and `spec` of the pod are.
    pod: &'static str,
    adds: Adds,
}

/// What the controller adds, by which pods are recognised.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Adds {
    Nothing,
    ScaleSetLabels,
    RunnerSetLabels,
}

impl Kind {
    const fn new(groups: &'static [&'static str], name: &'static str, pod: &'static str) -> Self {
        Self {
            groups,
            name,
            pod,
            adds: Adds::Nothing,
        }
    }

    const fn scale_set(name: &'static str, pod: &'static str) -> Self {
        Self {
            adds: Adds::ScaleSetLabels,
            ..Self::new(&["actions.github.com"], name, pod)
        }
    }
}

const KINDS: [Kind; 13] = [
    Kind::new(&[""], "Pod", ""),
    Kind::new(&[""], "PodTemplate", "/template"),
    Kind::new(&[""], "ReplicationController", "/spec/template"),
    Kind::new(&["apps", "extensions"], "Deployment", "/spec/template"),
    Kind::new(&["apps"], "StatefulSet", "/spec/template"),
    Kind::new(&["apps", "extensions"], "DaemonSet", "/spec/template"),
    Kind::new(&["apps", "extensions"], "ReplicaSet", "/spec/template"),
    Kind::new(&["batch"], "Job", "/spec/template"),
    Kind::new(&["batch"], "CronJob", "/spec/jobTemplate/spec/template"),
    Kind::scale_set("AutoscalingRunnerSet", "/spec/template"),
    Kind::scale_set("EphemeralRunnerSet", "/spec/ephemeralRunnerSpec"),
    Kind::scale_set("EphemeralRunner", "/spec"),
    Kind {
        adds: Adds::RunnerSetLabels,
        ..Kind::new(&[LEGACY], "RunnerSet", "/spec/template")
    },
];

/// Where a pod says what was decided about it.
const STATUS_POINTER: &str = "/metadata/annotations/slipway.io~1status";
const PATCHED: &str = "Slipway has changed it already, and what it put in counts as the pod's own here: look at the \
     template of its pods for what the next one gets";

/// The group of the legacy Actions Runner Controller.
const LEGACY: &str = "actions.summerwind.dev";

/// A document's content with its pods in place.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The content; where a resource is no template of its pod, the pod stands in its place.
    pub content: Value,
    /// Its pods, in order.
    pub pods: Vec<PodPlace>,
}

/// A pod in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPlace {
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
    /// Whether the pod is not in the document, but what a controller would make of it.
    pub rendered: bool,
    /// What people should know about this pod beside the decision.
    pub caveat: Option<&'static str>,
    implied: Vec<(&'static str, String)>,
}

/// Why a document's pods cannot be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WorkloadError {
    /// The JSON pointer of the place.
    pub pointer: String,
    /// What was expected there.
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
    /// Finds the pods of a document's content.
    ///
    /// # Errors
    /// When the content is no Kubernetes resource, or one with pods has none.
    pub fn new(content: Value) -> Result<Self, WorkloadError> {
        let mut workload = Self {
            content,
            pods: Vec::new(),
        };
        workload.find("", "")?;
        Ok(workload)
    }

    /// Looks at the resource at `owner`; `item_kind` is its kind where typed lists leave it out.
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
        if group.as_deref() == Some(LEGACY) && (kind == "RunnerDeployment" || kind == "Runner") {
            return self.render(owner, &kind);
        }
        let known = KINDS.iter().find(|known| {
            let group = group.as_deref();
            known.name == kind && group.is_none_or(|group| known.groups.contains(&group))
        });
        if let Some(known) = known {
            let place = PodPlace::new(known, owner, resource);
            let spec = format!("{}/spec", place.pod);
            for pointer in [&place.pod, &spec] {
                self.expect_mapping(pointer, &kind)?;
            }
            self.pods.push(place);
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

    /// Puts the pod that the legacy controller makes of a resource in the resource's place.
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
        self.pods.push(PodPlace {
            kind: kind.to_owned(),
            rendered: true,
            pod: owner.to_owned(),
            caveat: None,
            implied: Vec::new(),
            ..PodPlace::of_resource(owner, resource)
        });
        *resource = rendered;
        Ok(())
    }
}

impl PodPlace {
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
            caveat: None,
            implied: Vec::new(),
        }
    }

    fn new(kind: &Kind, owner: &str, resource: &Value) -> Self {
        let place = Self::of_resource(owner, resource);
        let (implied, caveat) = match kind.adds {
            Adds::Nothing => {
                let status = resource.pointer(&format!("{}{STATUS_POINTER}", kind.pod));
                (Vec::new(), status.map(|_| PATCHED))
            }
            Adds::ScaleSetLabels => (scale_set_labels(resource, &place.name), None),
            Adds::RunnerSetLabels => {
                let labels = vec![
                    ("runnerset-name", place.name.clone()),
                    ("actions-runner", String::new()),
                ];
                let own_dockerd = resource.pointer("/spec/dockerEnabled") != Some(&json!(false))
                    && resource.pointer("/spec/dockerdWithinRunnerContainer") != Some(&json!(true));
                let caveat = own_dockerd.then_some(
                    "the controller adds a dockerd sidecar to the pods of a RunnerSet, which this file does not show: \
                     look at a running pod (kubectl get pod -o yaml) for what is decided with it",
                );
                (labels, caveat)
            }
        };
        Self {
            kind: kind.name.to_owned(),
            pod: format!("{owner}{}", kind.pod),
            caveat,
            implied,
            ..place
        }
    }

    /// The pod as the webhook would see it: with the labels that its controller adds, and without
    /// the node that the scheduler chose for one that is in a cluster already.
    #[must_use]
    pub fn pod(&self, content: &Value) -> Value {
        let part = |key: &str| {
            let value = content.pointer(&format!("{}/{key}", self.pod)).cloned();
            value
                .filter(|value| !value.is_null())
                .unwrap_or_else(|| json!({}))
        };
        let mut metadata = part("metadata");
        if let (false, Some(metadata)) = (self.implied.is_empty(), metadata.as_object_mut()) {
            let labels = metadata.entry("labels").or_insert(Value::Null);
            if labels.is_null() {
                *labels = Value::Object(Map::new());
            }
            for (key, value) in &self.implied {
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

    /// The patch for [`PodPlace::pod`] as one for the document.
    ///
    /// A pod always has `metadata`, a template need not: what the document lacks is created before
    /// something is put into it.
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

/// What the scale set's controller labels its pods with.
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

/// Two valid pointers, one behind the other, are a valid pointer.
fn pointer(text: String) -> PointerBuf {
    PointerBuf::parse(text).unwrap_or_default()
}

/// A value's type, as YAML names it.
#[must_use]
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// `/spec/containers/0/name` as `spec.containers[0].name`.
#[must_use]
pub fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for token in pointer.split('/').skip(1) {
        if !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit()) {
            path.extend(["[", token, "]"]);
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&token.replace("~1", "/").replace("~0", "~"));
    }
    path
}

/// The other way; keys that hold a dot lead to their parent.
#[must_use]
pub fn pointer_of(path: &str) -> String {
    path.split(['.', '[', ']'])
        .filter(|token| !token.is_empty())
        .flat_map(|token| ["/".to_owned(), token.replace('~', "~0").replace('/', "~1")])
        .collect()
}
