//! Injections as RFC 6902 operations on the raw object.
//!
//! The API server applies patches strictly: `add` to `/list/-` needs the list, `add` to
//! `/map/key` needs the map. So additions are grouped by their parent, and a parent that is
//! absent or `null` is created with all of them at once. Removals come last, so that the indices
//! of everything before them hold.

mod encode;

pub use encode::encode;
use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation, jsonptr::PointerBuf,
};
use serde_json::{Map, Value, json};

use crate::{
    inject::{Injection, ResourceKind},
    nodes::Pin,
    pod::{Container, ContainerRef, Pod},
};

/// The operations that put `injections` into `pod`; none for none.
#[must_use]
pub fn operations(pod: &Pod<'_>, injections: &[Injection]) -> Patch {
    let mut writer = Writer {
        pod,
        injections,
        operations: Vec::new(),
    };
    writer.annotations();
    writer.labels();
    writer.pod_fields();
    let places: Vec<ContainerRef> = writer.containers();
    for place in places {
        writer.container(place);
    }
    writer.added_containers();
    writer.removals();
    Patch(writer.operations)
}

/// A JSON pointer, from its unescaped tokens (`~` and `/` are escaped, RFC 6901).
fn pointer<'t>(tokens: impl IntoIterator<Item = &'t str>) -> PointerBuf {
    PointerBuf::from_tokens(tokens)
}

struct Writer<'w> {
    pod: &'w Pod<'w>,
    injections: &'w [Injection],
    operations: Vec<PatchOperation>,
}

impl Writer<'_> {
    fn add(&mut self, path: PointerBuf, value: Value) {
        self.operations
            .push(PatchOperation::Add(AddOperation { path, value }));
    }

    fn replace(&mut self, path: PointerBuf, value: Value) {
        self.operations
            .push(PatchOperation::Replace(ReplaceOperation { path, value }));
    }

    /// Appends to a list, creating it when it is absent.
    fn append(&mut self, parent: &[&str], exists: bool, values: Vec<Value>) {
        if values.is_empty() {
            return;
        }
        if !exists {
            self.add(pointer(parent.iter().copied()), Value::Array(values));
            return;
        }
        for value in values {
            let end = parent.iter().copied().chain(["-"]);
            self.add(pointer(end), value);
        }
    }

    /// Sets members of a map, creating it when it is absent.
    fn set(&mut self, parent: &[&str], exists: bool, entries: Vec<(&str, Value)>) {
        if entries.is_empty() {
            return;
        }
        if !exists {
            let map: Map<String, Value> = entries
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect();
            self.add(pointer(parent.iter().copied()), Value::Object(map));
            return;
        }
        for (key, value) in entries {
            self.add(pointer(parent.iter().copied().chain([key])), value);
        }
    }

    fn annotations(&mut self) {
        let entries = self
            .injections
            .iter()
            .filter_map(|injection| match injection {
                Injection::Annotation { key, value } => Some((*key, json!(value))),
                _ => None,
            });
        let exists = self.pod.metadata.annotations.is_some();
        self.set(&["metadata", "annotations"], exists, entries.collect());
    }

    fn labels(&mut self) {
        let entries = self
            .injections
            .iter()
            .filter_map(|injection| match injection {
                Injection::Label { key, value } => Some((*key, json!(value))),
                _ => None,
            });
        let exists = self.pod.metadata.labels.is_some();
        self.set(&["metadata", "labels"], exists, entries.collect());
    }

    fn pod_fields(&mut self) {
        let volumes = self
            .injections
            .iter()
            .filter_map(|injection| match injection {
                Injection::Volume { name, source } => Some(named(name, source)),
                _ => None,
            });
        let exists = self.pod.spec.volumes.is_some();
        self.append(&["spec", "volumes"], exists, volumes.collect());

        let groups: Vec<Value> = self
            .injections
            .iter()
            .filter_map(|injection| match injection {
                Injection::SupplementalGroup(group) => Some(json!(group)),
                _ => None,
            })
            .collect();
        match &self.pod.spec.security_context {
            None if groups.is_empty() => {}
            None => self.add(
                pointer(["spec", "securityContext"]),
                json!({ "supplementalGroups": groups }),
            ),
            Some(context) => {
                let exists = context.supplemental_groups.is_some();
                self.append(
                    &["spec", "securityContext", "supplementalGroups"],
                    exists,
                    groups,
                );
            }
        }
        let pins = self
            .injections
            .iter()
            .filter_map(|injection| match injection {
                Injection::NodeAffinity(pin) => Some(pin),
                _ => None,
            });
        for pin in pins.collect::<Vec<_>>() {
            self.node_affinity(pin);
        }
    }

    /// A requirement in each term, because terms are ORed; or the first term.
    fn node_affinity(&mut self, pin: &Pin) {
        const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
        let requirement = json!({"key": pin.key, "operator": "In", "values": pin.values});
        let first = json!({"nodeSelectorTerms": [{"matchExpressions": [&requirement]}]});
        let affinity = self.pod.spec.affinity.as_ref();
        let node = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let Some(required) = node.and_then(|node| node.required.as_ref()) else {
            match (affinity, node) {
                (None, _) => self.add(
                    pointer(["spec", "affinity"]),
                    json!({"nodeAffinity": {REQUIRED: first}}),
                ),
                (Some(_), None) => self.add(
                    pointer(["spec", "affinity", "nodeAffinity"]),
                    json!({ REQUIRED: first }),
                ),
                (Some(_), Some(_)) => {
                    self.add(
                        pointer(["spec", "affinity", "nodeAffinity", REQUIRED]),
                        first,
                    );
                }
            }
            return;
        };
        for (i, term) in required.node_selector_terms.iter().flatten().enumerate() {
            let index = i.to_string();
            let parent = [
                "spec",
                "affinity",
                "nodeAffinity",
                REQUIRED,
                "nodeSelectorTerms",
                &index,
                "matchExpressions",
            ];
            let empty = term.match_expressions.iter().flatten().next().is_none()
                && term.match_fields.iter().flatten().next().is_none();
            // An empty term matches nothing and must go on matching nothing.
            if !empty {
                let exists = term.match_expressions.is_some();
                self.append(&parent, exists, vec![requirement.clone()]);
            }
        }
    }

    /// The containers that change, in the order of the pod.
    fn containers(&self) -> Vec<ContainerRef> {
        let mut places: Vec<ContainerRef> = self
            .injections
            .iter()
            .filter_map(|injection| match injection {
                Injection::Mount { container, .. }
                | Injection::Env { container, .. }
                | Injection::Args { container, .. }
                | Injection::Command { container, .. }
                | Injection::Resource { container, .. }
                | Injection::Image { container, .. } => Some(*container),
                _ => None,
            })
            .collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    fn container(&mut self, place: ContainerRef) {
        let Some(container) = self.pod.container(place) else {
            return;
        };
        let (list, index) = match place {
            ContainerRef::Container(i) => ("containers", i.to_string()),
            ContainerRef::Init(i) => ("initContainers", i.to_string()),
        };
        let base = ["spec", list, index.as_str()];
        let at = |field: &'static str| [base[0], base[1], base[2], field];
        for injection in self.injections {
            match injection {
                Injection::Image {
                    container: c,
                    image,
                } if *c == place => {
                    self.add(pointer(at("image")), json!(image));
                }
                Injection::Command {
                    container: c,
                    command,
                } if *c == place => {
                    self.add(pointer(at("command")), json!(command));
                }
                Injection::Args {
                    container: c,
                    keep: Some(keep),
                    add,
                } if *c == place => {
                    self.replace(pointer(at("args")), json!([&keep[..], add].concat()));
                }
                Injection::Args {
                    container: c,
                    keep: None,
                    add,
                } if *c == place => {
                    let add = add.iter().map(|arg| json!(arg)).collect();
                    self.append(&at("args"), container.args.is_some(), add);
                }
                _ => {}
            }
        }
        self.env(place, container, &at("env"));
        self.resources(place, container, &at("resources"));
        let mounts = self
            .injections
            .iter()
            .filter_map(|injection| match injection {
                Injection::Mount {
                    container: c,
                    volume,
                    path,
                    sub_path,
                    ..
                } if *c == place => Some(mount(volume, path, *sub_path)),
                _ => None,
            });
        let exists = container.volume_mounts.is_some();
        self.append(&at("volumeMounts"), exists, mounts.collect());
    }

    fn env(&mut self, place: ContainerRef, container: &Container<'_>, parent: &[&str]) {
        let present = container.env.as_deref().unwrap_or_default();
        let mut added = Vec::new();
        for injection in self.injections {
            let Injection::Env {
                container: c,
                name,
                value,
                ..
            } = injection
            else {
                continue;
            };
            if *c != place {
                continue;
            }
            let variable = json!({"name": name, "value": value});
            match present.iter().rposition(|var| var.name == name.as_str()) {
                Some(i) => {
                    let index = i.to_string();
                    let path = pointer(parent.iter().copied().chain([index.as_str()]));
                    self.replace(path, variable);
                }
                None => added.push(variable),
            }
        }
        self.append(parent, container.env.is_some(), added);
    }

    fn resources(&mut self, place: ContainerRef, container: &Container<'_>, parent: &[&str]) {
        let of = |wanted: ResourceKind| -> Vec<(&str, Value)> {
            self.injections
                .iter()
                .filter_map(|injection| match injection {
                    Injection::Resource {
                        container: c,
                        kind,
                        resource,
                        quantity,
                        ..
                    } if *c == place && *kind == wanted => {
                        Some((resource.as_str(), json!(quantity)))
                    }
                    _ => None,
                })
                .collect()
        };
        let (requests, limits) = (of(ResourceKind::Requests), of(ResourceKind::Limits));
        let Some(present) = &container.resources else {
            let map = |entries: Vec<(&str, Value)>| -> Map<String, Value> {
                entries
                    .into_iter()
                    .map(|(k, v)| (k.to_owned(), v))
                    .collect()
            };
            let parts = [("requests", map(requests)), ("limits", map(limits))];
            let parts: Vec<(&str, Value)> = parts
                .into_iter()
                .filter(|(_, map)| !map.is_empty())
                .map(|(key, map)| (key, Value::Object(map)))
                .collect();
            self.set(parent, false, parts);
            return;
        };
        for (kind, exists, entries) in [
            ("requests", present.requests.is_some(), requests),
            ("limits", present.limits.is_some(), limits),
        ] {
            let path: Vec<&str> = parent.iter().copied().chain([kind]).collect();
            self.set(&path, exists, entries);
        }
    }

    fn added_containers(&mut self) {
        for (list, wanted, exists) in [
            (
                "initContainers",
                true,
                self.pod.spec.init_containers.is_some(),
            ),
            ("containers", false, self.pod.spec.containers.is_some()),
        ] {
            let added = self
                .injections
                .iter()
                .filter_map(|injection| match injection {
                    Injection::AddContainer { init, container } if *init == wanted => {
                        Some(container.clone())
                    }
                    _ => None,
                });
            self.append(&["spec", list], exists, added.collect());
        }
    }

    fn removals(&mut self) {
        for injection in self.injections {
            let Injection::RemoveContainer(place) = injection else {
                continue;
            };
            let (list, index) = match place {
                ContainerRef::Container(i) => ("containers", i.to_string()),
                ContainerRef::Init(i) => ("initContainers", i.to_string()),
            };
            self.operations
                .push(PatchOperation::Remove(RemoveOperation {
                    path: pointer(["spec", list, index.as_str()]),
                }));
        }
    }
}

fn named(name: &str, source: &Value) -> Value {
    let mut volume = Map::new();
    volume.insert("name".to_owned(), json!(name));
    for (key, value) in source.as_object().into_iter().flatten() {
        volume.insert(key.clone(), value.clone());
    }
    Value::Object(volume)
}

fn mount(volume: &str, path: &str, sub_path: Option<&str>) -> Value {
    match sub_path {
        None => json!({"name": volume, "mountPath": path}),
        Some(file) => json!({"name": volume, "mountPath": path, "subPath": file, "readOnly": true}),
    }
}
