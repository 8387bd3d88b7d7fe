//! The changes to a pod, and the JSON Patch (RFC 6902) that makes them.
//!
//! The injections collect [`PodChanges`], folded by container. [`operations`] writes them as
//! operations on the raw object, so that fields which Slipway does not know stay as they are.
//!
//! The API server applies a patch strictly:
//!
//! - `add` to `/map/key` needs the map, and `add` to `/list/-` the list. A parent that is absent or
//!   `null` is created with all of its new members in one operation: [`Writer::append`] for lists,
//!   [`Writer::set`] for maps.
//! - `~` and `/` in a key are escaped: `jsonptr` does that with every token.
//! - A removal moves all that follows it in the list. So it comes last, and every index before it
//!   is the index in the pod as it came.

mod changes;
mod encoding;
mod operations;
mod script;
mod values;

use std::{borrow::Cow, collections::BTreeMap};

use json_patch::jsonptr::{Pointer, PointerBuf};
use serde::Serialize;

pub use changes::{ArgChanges, ContainerChanges, PodChanges, ProbeTiming};
use operations::Operation;
pub use operations::Operations;
pub use values::{
    ClaimName, DownwardApi, EmptyDir, EnvVar, EphemeralClaim, HostPath, HostPathType, NewContainer,
    Probe, Resources, SecurityContext, Volume, VolumeMount, VolumeSource, Words,
};

use crate::{
    k8s::quantity::Quantity,
    nodes::Pin,
    pod::{Container, ContainerRef, Pod},
};

/// Returns the operations that make these changes to `pod`; none for no changes.
#[must_use]
pub fn operations(pod: &Pod<'_>, changes: &PodChanges<'_>) -> Operations {
    let mut writer = Writer {
        pod,
        operations: Operations::default(),
    };
    writer.metadata(changes);
    writer.spec(changes);
    for (at, changes) in &changes.containers {
        if let Some(container) = pod.container(*at) {
            writer.container(&pointer_to(*at), container, changes);
        }
    }
    writer.added_containers(&changes.added);
    if let Some(removed) = changes.removed {
        writer.remove(&pointer_to(removed));
    }
    writer.operations
}

fn pointer_to(container: ContainerRef) -> PointerBuf {
    let (list, index) = match container {
        ContainerRef::Container(index) => ("containers", index),
        ContainerRef::Init(index) => ("initContainers", index),
    };
    PointerBuf::from_tokens(["spec", list, &index.to_string()])
}

struct Writer<'w> {
    pod: &'w Pod<'w>,
    operations: Operations,
}

/// The four ways to change something.
impl Writer<'_> {
    fn add<V: Serialize + ?Sized>(&mut self, path: &Pointer, value: &V) {
        self.operations.push(&Operation::Add { path, value });
    }

    fn remove(&mut self, path: &Pointer) {
        let operation: Operation<'_, ()> = Operation::Remove { path };
        self.operations.push(&operation);
    }

    /// Appends to a list, which is created when it is absent.
    fn append<V: Serialize>(&mut self, list: &Pointer, exists: bool, values: &[V]) {
        if values.is_empty() {
            return;
        }
        if !exists {
            self.add(list, values);
            return;
        }
        let end = list.with_trailing_token("-");
        for value in values {
            self.add(&end, value);
        }
    }

    /// Sets members of a map, which is created when it is absent.
    fn set<K, V>(&mut self, map: &Pointer, exists: bool, members: &BTreeMap<K, V>)
    where
        K: AsRef<str> + Serialize,
        V: Serialize,
    {
        if members.is_empty() {
            return;
        }
        if !exists {
            self.add(map, members);
            return;
        }
        for (key, value) in members {
            self.add(&map.with_trailing_token(key.as_ref()), value);
        }
    }
}

/// The pod as a whole.
impl Writer<'_> {
    fn metadata(&mut self, changes: &PodChanges<'_>) {
        const METADATA: &Pointer = Pointer::from_static("/metadata");
        const ANNOTATIONS: &Pointer = Pointer::from_static("/metadata/annotations");
        const LABELS: &Pointer = Pointer::from_static("/metadata/labels");
        let metadata = &self.pod.metadata;
        let needed = !changes.annotations.is_empty() || !changes.labels.is_empty();
        // A pod that was not recognised by its labels may have none.
        if needed && !metadata.is_present {
            self.add(METADATA, &serde_json::Map::new());
        }
        let (annotations, labels) = (metadata.annotations.is_some(), metadata.labels.is_some());
        self.set(ANNOTATIONS, annotations, &changes.annotations);
        self.set(LABELS, labels, &changes.labels);
    }

    fn spec(&mut self, changes: &PodChanges<'_>) {
        const VOLUMES: &Pointer = Pointer::from_static("/spec/volumes");
        let exists = self.pod.spec.volumes.is_some();
        self.append(VOLUMES, exists, &changes.volumes);
        self.supplemental_groups(&changes.supplemental_groups);
        if let Some(pin) = &changes.node_affinity {
            self.node_affinity(pin);
        }
    }

    fn supplemental_groups(&mut self, groups: &[i64]) {
        const CONTEXT: &Pointer = Pointer::from_static("/spec/securityContext");
        const GROUPS: &Pointer = Pointer::from_static("/spec/securityContext/supplementalGroups");
        match &self.pod.spec.security_context {
            None if groups.is_empty() => {}
            None => self.add(CONTEXT, &BTreeMap::from([("supplementalGroups", groups)])),
            Some(context) => self.append(GROUPS, context.supplemental_groups.is_some(), groups),
        }
    }

    /// Adds the requirement to each term, because terms are ORed; or makes the first term.
    fn node_affinity(&mut self, pin: &Pin) {
        const AFFINITY: &Pointer = Pointer::from_static("/spec/affinity");
        const NODE: &Pointer = Pointer::from_static("/spec/affinity/nodeAffinity");
        const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
        let requirement = Requirement {
            key: &pin.key,
            operator: "In",
            values: &pin.values,
        };
        let affinity = self.pod.spec.affinity.as_ref();
        let node = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let Some(required) = node.and_then(|node| node.required.as_ref()) else {
            let term = BTreeMap::from([("matchExpressions", [requirement])]);
            let selector = BTreeMap::from([("nodeSelectorTerms", [term])]);
            if node.is_some() {
                self.add(&NODE.with_trailing_token(REQUIRED), &selector);
                return;
            }
            let required = BTreeMap::from([(REQUIRED, selector)]);
            if affinity.is_some() {
                self.add(NODE, &required);
            } else {
                self.add(AFFINITY, &BTreeMap::from([("nodeAffinity", required)]));
            }
            return;
        };
        let terms = NODE
            .with_trailing_token(REQUIRED)
            .with_trailing_token("nodeSelectorTerms");
        for (i, term) in required.node_selector_terms.iter().flatten().enumerate() {
            let is_empty = term.match_expressions.iter().flatten().next().is_none()
                && term.match_fields.iter().flatten().next().is_none();
            // An empty term matches nothing, and must still match nothing.
            if !is_empty {
                let expressions = terms
                    .with_trailing_token(i)
                    .with_trailing_token("matchExpressions");
                let exists = term.match_expressions.is_some();
                self.append(&expressions, exists, &[&requirement]);
            }
        }
    }
}

/// A requirement of a node selector.
#[derive(Serialize)]
struct Requirement<'r> {
    key: &'r str,
    operator: &'static str,
    values: &'r [String],
}

/// Containers.
impl Writer<'_> {
    fn container(
        &mut self,
        base: &Pointer,
        container: &Container<'_>,
        changes: &ContainerChanges<'_>,
    ) {
        let field = |name| base.with_trailing_token(name);
        if let Some(image) = &changes.image {
            self.add(&field("image"), image);
        }
        if let Some(args) = &changes.args {
            self.args(&field("args"), container, args);
        }
        if let Some(command) = &changes.command {
            self.add(&field("command"), &Words(command.words()));
        }
        self.env(&field("env"), container, &changes.env);
        self.resources(&field("resources"), container, changes);
        if let Some(timing) = &changes.startup_probe {
            let probe = field("startupProbe");
            // `add` replaces a member that is there.
            self.add(&probe.with_trailing_token("periodSeconds"), &timing.period);
            self.add(
                &probe.with_trailing_token("failureThreshold"),
                &timing.failure_threshold,
            );
        }
        let exists = container.volume_mounts.is_some();
        self.append(&field("volumeMounts"), exists, &changes.mounts);
    }

    fn args(&mut self, path: &Pointer, container: &Container<'_>, args: &ArgChanges<'_>) {
        match &args.keep {
            None => self.append(path, container.args.is_some(), &args.add),
            Some(keep) => {
                let value: &Vec<&str> = &keep.iter().chain(&args.add).map(AsRef::as_ref).collect();
                self.operations.push(&Operation::Replace { path, value });
            }
        }
    }

    /// Replaces variables that are there, and appends the others. Of two with one name, the kubelet
    /// takes the last.
    fn env(&mut self, path: &Pointer, container: &Container<'_>, env: &[EnvVar<'_>]) {
        let present = container.env.as_deref().unwrap_or_default();
        let mut added = Vec::with_capacity(env.len());
        for value in env {
            match present.iter().rposition(|var| *var.name == *value.name) {
                Some(index) => {
                    let path = &path.with_trailing_token(index);
                    self.operations.push(&Operation::Replace { path, value });
                }
                None => added.push(value),
            }
        }
        self.append(path, container.env.is_some(), &added);
    }

    fn resources(
        &mut self,
        path: &Pointer,
        container: &Container<'_>,
        changes: &ContainerChanges<'_>,
    ) {
        type Quantities<'q> = BTreeMap<Cow<'q, str>, Quantity>;
        let kinds: [(&str, &Quantities<'_>); 2] =
            [("requests", &changes.requests), ("limits", &changes.limits)];
        let Some(present) = &container.resources else {
            let set = kinds
                .into_iter()
                .filter(|(_, quantities)| !quantities.is_empty());
            self.set(path, false, &set.collect());
            return;
        };
        let exist = [present.requests.is_some(), present.limits.is_some()];
        for ((kind, quantities), exists) in kinds.into_iter().zip(exist) {
            self.set(&path.with_trailing_token(kind), exists, quantities);
        }
    }

    fn added_containers(&mut self, added: &[NewContainer<'_>]) {
        const INIT: &Pointer = Pointer::from_static("/spec/initContainers");
        const CONTAINERS: &Pointer = Pointer::from_static("/spec/containers");
        let (init, plain): (Vec<_>, Vec<_>) = added.iter().partition(|container| container.init);
        let spec = &self.pod.spec;
        let (has_init, has_plain) = (spec.init_containers.is_some(), spec.containers.is_some());
        self.append(INIT, has_init, &init);
        self.append(CONTAINERS, has_plain, &plain);
    }
}
