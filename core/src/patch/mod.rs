//! Injections as RFC 6902 operations on the raw object.
//!
//! The API server applies patches strictly: `add` to `/list/-` needs the list, `add` to
//! `/map/key` needs the map. So additions are grouped by their parent, and a parent that is
//! absent or `null` is created with all of them at once. Removals come last, so that the indices
//! of everything before them hold.

mod json;

use json::Json;
pub use json::Operations;
use serde_json::Value;

use crate::{
    inject::{Injection, ResourceKind},
    nodes::Pin,
    pod::{Container, ContainerRef, Pod},
};

/// The operations that put `injections` into `pod`; none for none.
#[must_use]
pub fn operations(pod: &Pod<'_>, injections: &[Injection]) -> Operations {
    let mut writer = Writer {
        pod,
        injections,
        operations: Operations::default(),
    };
    writer.metadata();
    writer.annotations();
    writer.labels();
    writer.pod_fields();
    let places: Vec<ContainerRef> = writer.containers();
    for place in places {
        writer.container(place);
    }
    writer.added_containers();
    writer.removals();
    writer.operations
}

/// The members of a map that is to be added to.
type Entries<'w> = Vec<(&'w str, Json<'w>)>;

struct Writer<'w> {
    pod: &'w Pod<'w>,
    injections: &'w [Injection],
    operations: Operations,
}

impl<'w> Writer<'w> {
    fn add(&mut self, path: &[&str], value: &Json<'_>) {
        self.operations.push("add", path, Some(value));
    }

    fn replace(&mut self, path: &[&str], value: &Json<'_>) {
        self.operations.push("replace", path, Some(value));
    }

    /// Appends to a list, creating it when it is absent.
    fn append(&mut self, parent: &[&str], exists: bool, values: Vec<Json<'_>>) {
        if values.is_empty() {
            return;
        }
        if !exists {
            self.add(parent, &Json::List(values));
            return;
        }
        let end = [parent, &["-"]].concat();
        for value in &values {
            self.add(&end, value);
        }
    }

    /// Sets members of a map, creating it when it is absent.
    fn set(&mut self, parent: &[&str], exists: bool, entries: Entries<'_>) {
        if entries.is_empty() {
            return;
        }
        if !exists {
            self.add(parent, &Json::Map(entries));
            return;
        }
        for (key, value) in &entries {
            self.add(&[parent, &[*key]].concat(), value);
        }
    }

    /// A pod that was recognised by something else than its labels may have none.
    fn metadata(&mut self) {
        let needed = self.injections.iter().any(|injection| {
            matches!(
                injection,
                Injection::Annotation { .. } | Injection::Label { .. }
            )
        });
        if needed && !self.pod.metadata.is_present {
            self.add(&["metadata"], &Json::Map(Vec::new()));
        }
    }

    fn annotations(&mut self) {
        let entries = self
            .injections
            .iter()
            .filter_map(|injection| match injection {
                Injection::Annotation { key, value } => Some((*key, Json::Text(value))),
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
                Injection::Label { key, value } => Some((*key, Json::Text(value))),
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

        let groups: Vec<Json<'_>> = self
            .injections
            .iter()
            .filter_map(|injection| match injection {
                Injection::SupplementalGroup(group) => Some(Json::Number(*group)),
                _ => None,
            })
            .collect();
        match &self.pod.spec.security_context {
            None if groups.is_empty() => {}
            None => self.add(
                &["spec", "securityContext"],
                &Json::Map(vec![("supplementalGroups", Json::List(groups))]),
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
        let requirement = Json::Map(vec![
            ("key", Json::Text(&pin.key)),
            ("operator", Json::Text("In")),
            ("values", Json::texts(&pin.values)),
        ]);
        let affinity = self.pod.spec.affinity.as_ref();
        let node = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let Some(required) = node.and_then(|node| node.required.as_ref()) else {
            let list = |item| Json::List(vec![item]);
            let map = |key, value| Json::Map(vec![(key, value)]);
            let term = map("matchExpressions", list(requirement));
            let first = map("nodeSelectorTerms", list(term));
            match (affinity, node) {
                (None, _) => {
                    let value = map("nodeAffinity", map(REQUIRED, first));
                    self.add(&["spec", "affinity"], &value);
                }
                (Some(_), None) => {
                    let value = map(REQUIRED, first);
                    self.add(&["spec", "affinity", "nodeAffinity"], &value);
                }
                (Some(_), Some(_)) => {
                    self.add(&["spec", "affinity", "nodeAffinity", REQUIRED], &first);
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
                    self.add(&at("image"), &Json::Text(image));
                }
                Injection::Command {
                    container: c,
                    command,
                } if *c == place => {
                    self.add(&at("command"), &Json::texts(&command.words()));
                }
                Injection::Args {
                    container: c,
                    keep: Some(keep),
                    add,
                } if *c == place => {
                    self.replace(&at("args"), &Json::texts(keep.iter().chain(add)));
                }
                Injection::Args {
                    container: c,
                    keep: None,
                    add,
                } if *c == place => {
                    let add = add.iter().map(|arg| Json::Text(arg)).collect();
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
            let variable = Json::Map(vec![
                ("name", Json::Text(name)),
                ("value", Json::Text(value)),
            ]);
            match present.iter().rposition(|var| var.name == name.as_str()) {
                Some(i) => {
                    let index = i.to_string();
                    self.replace(&[parent, &[index.as_str()]].concat(), &variable);
                }
                None => added.push(variable),
            }
        }
        self.append(parent, container.env.is_some(), added);
    }

    fn resources(&mut self, place: ContainerRef, container: &Container<'_>, parent: &[&str]) {
        let injections = self.injections;
        let of = |wanted: ResourceKind| -> Entries<'w> {
            injections
                .iter()
                .filter_map(|injection| match injection {
                    Injection::Resource {
                        container: c,
                        kind,
                        resource,
                        quantity,
                        ..
                    } if *c == place && *kind == wanted => {
                        Some((resource.as_str(), Json::Text(quantity)))
                    }
                    _ => None,
                })
                .collect()
        };
        let (requests, limits) = (of(ResourceKind::Requests), of(ResourceKind::Limits));
        let Some(present) = &container.resources else {
            let parts = [("requests", requests), ("limits", limits)]
                .into_iter()
                .filter(|(_, entries)| !entries.is_empty())
                .map(|(key, entries)| (key, Json::Map(entries)))
                .collect();
            self.set(parent, false, parts);
            return;
        };
        for (kind, exists, entries) in [
            ("requests", present.requests.is_some(), requests),
            ("limits", present.limits.is_some(), limits),
        ] {
            self.set(&[parent, &[kind]].concat(), exists, entries);
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
                        Some(Json::Value(container))
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
            let path = ["spec", list, index.as_str()];
            self.operations.push("remove", &path, None);
        }
    }
}

fn named<'w>(name: &'w str, source: &'w Value) -> Json<'w> {
    let source = source.as_object().into_iter().flatten();
    let source = source.map(|(key, value)| (key.as_str(), Json::Value(value)));
    Json::Map(
        [("name", Json::Text(name))]
            .into_iter()
            .chain(source)
            .collect(),
    )
}

fn mount<'w>(volume: &'w str, path: &'w str, sub_path: Option<&'w str>) -> Json<'w> {
    let mut mount = vec![
        ("name", Json::Text(volume)),
        ("mountPath", Json::Text(path)),
    ];
    if let Some(file) = sub_path {
        mount.extend([("subPath", Json::Text(file)), ("readOnly", Json::True)]);
    }
    Json::Map(mount)
}
