//! Collects injections and keeps their rules: nothing twice, nothing over what the pod has.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{Injection, Injections, ResourceKind};
use crate::{
    decide::{DockerdPlan, Plan},
    dockerd::Setting,
    nodes::Pin,
    pod::{Container, ContainerRef, Map, Pod, Volume, is_same_path, is_within},
    policy::Overwrite,
    reason::Reason,
};

/// The API server's limit on the annotations of one object, keys and values together
/// (`TotalAnnotationSizeLimitB`).
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// Injections in the making.
pub(super) struct Builder<'b> {
    pub pod: &'b Pod<'b>,
    pub plan: &'b Plan<'b>,
    out: Injections,
}

impl<'b> Builder<'b> {
    pub fn new(pod: &'b Pod<'b>, plan: &'b Plan<'b>) -> Self {
        Self {
            pod,
            plan,
            out: Injections::default(),
        }
    }

    pub fn finish(self) -> Injections {
        self.out
    }

    pub fn container(&self, place: ContainerRef) -> Option<&'b Container<'b>> {
        self.pod.container(place)
    }

    pub fn push(&mut self, injection: Injection) {
        self.out.list.push(injection);
    }

    /// Notes a reason, once.
    pub fn note(&mut self, reason: Reason) {
        if !self.out.notes.contains(&reason) {
            self.out.notes.push(reason);
        }
    }

    /// Whether the reason was noted.
    pub fn has_note(&self, reason: &Reason) -> bool {
        self.out.notes.contains(reason)
    }

    /// Whether the profile lets values of the pod be replaced.
    pub fn overwrites(&self) -> bool {
        self.plan.profile.overwrite == Overwrite::All
    }

    /// Whether the profile lets resources of a dockerd container be replaced.
    pub fn overwrites_resources(&self) -> bool {
        self.plan.profile.overwrite >= Overwrite::DockerdResources
    }

    fn name_of(&self, place: ContainerRef) -> String {
        self.container(place)
            .map(|c| c.name.to_string())
            .unwrap_or_default()
    }

    /// A variable, where the pod has none of that name or the profile overwrites.
    pub fn env(&mut self, place: ContainerRef, name: &str, value: &str) {
        let present = self.container(place).and_then(|c| c.env_var(name));
        match present {
            Some(var) if var.value.as_deref() == Some(value) => {}
            Some(_) if !self.overwrites() => {
                self.note(Reason::PodSets(Setting::Variable(name.to_owned())));
            }
            _ => self.set_env(place, name, value),
        }
    }

    /// A variable on every client, where the pod has none of that name: nothing to remark on.
    pub fn default_client_env(&mut self, name: &str, value: &str) {
        let plan = self.plan;
        for place in &plan.clients {
            let client = self.container(*place);
            if client.is_some_and(|c| c.env_var(name).is_none()) {
                self.set_env(*place, name, value);
            }
        }
    }

    /// A variable, whatever the pod says.
    pub fn set_env(&mut self, container: ContainerRef, name: &str, value: &str) {
        let current = self.container(container).and_then(|c| c.env_value(name));
        let injected = self.out.list.iter().any(|injection| {
            matches!(injection, Injection::Env { container: c, name: n, .. } if *c == container && n == name)
        });
        if current != Some(value) && !injected {
            self.push(Injection::Env {
                container,
                container_name: self.name_of(container),
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
    }

    /// A variable on every container in which jobs run.
    pub fn client_env(&mut self, name: &str, value: &str) {
        let plan = self.plan;
        for place in &plan.clients {
            self.env(*place, name, value);
        }
    }

    /// Notes that the pod would be given a claim of its pool.
    pub fn want_claim(&mut self) {
        self.out.wants_claim = true;
    }

    /// Whether nothing of the pod is mounted at `path` or below.
    pub fn is_unoccupied(&self, place: ContainerRef, path: &str) -> bool {
        let mounts = self.container(place).map_or(&[][..], |c| c.mounts());
        !mounts.iter().any(|m| is_within(&m.mount_path, path))
    }

    /// A volume on `path`, unless something is mounted there or below. Says whether it was mounted.
    pub fn mount(&mut self, place: ContainerRef, path: &str, name: &str, source: &Value) -> bool {
        self.mount_file(place, path, name, source, None)
    }

    /// As [`Self::mount`], of one file of the volume.
    pub fn mount_file(
        &mut self,
        container: ContainerRef,
        path: &str,
        name: &str,
        source: &Value,
        sub_path: Option<&'static str>,
    ) -> bool {
        let mounts = self.container(container).map_or(&[][..], |c| c.mounts());
        // A mount below would be hidden, or would hide: the pod knows better.
        let occupied = mounts.iter().any(|m| is_within(&m.mount_path, path));
        let injected = self.out.list.iter().any(|injection| {
            matches!(injection, Injection::Mount { container: c, path: p, .. }
                if *c == container && is_same_path(p, path))
        });
        if occupied || injected {
            if occupied && !self.is_ours(container, path, name) {
                self.note(Reason::MountTaken(path.to_owned()));
            }
            return false;
        }
        let volume = self.volume(name, source);
        self.push(Injection::Mount {
            container,
            container_name: self.name_of(container),
            volume,
            path: path.to_owned(),
            sub_path,
        });
        true
    }

    /// Whether what is mounted at `path` is a volume of the name that we would give it.
    pub fn is_ours(&self, container: ContainerRef, path: &str, name: &str) -> bool {
        self.container(container)
            .and_then(|c| c.mount_at(path))
            .is_some_and(|mount| mount.name.starts_with(name))
    }

    /// A volume with this source: one that is there, or a new one.
    pub fn volume(&mut self, name: &str, source: &Value) -> String {
        let mut present = self.pod.volumes().iter();
        let present = present.find(|v| v.name.starts_with(name) && has_source(v, source));
        let found = self.injected_volume(name, source);
        found
            .or_else(|| present.map(|volume| volume.name.to_string()))
            .unwrap_or_else(|| self.new_volume(name, source))
    }

    /// A volume with this source that the pod does not bring: an added container that is privileged trusts what is in it, and
    /// whoever made the pod could have mounted one of its own elsewhere too.
    pub fn new_volume(&mut self, name: &str, source: &Value) -> String {
        if let Some(found) = self.injected_volume(name, source) {
            return found;
        }
        let free = self.free_volume_name(name);
        self.push(Injection::Volume {
            name: free.clone(),
            source: source.clone(),
        });
        free
    }

    fn injected_volume(&self, name: &str, source: &Value) -> Option<String> {
        self.out.list.iter().find_map(|injection| match injection {
            Injection::Volume { name: n, source: s } if s == source && n.starts_with(name) => {
                Some(n.clone())
            }
            _ => None,
        })
    }

    /// A name that no volume has, and that no mount names either: a mount without a volume would get
    /// hold of ours, in a container that was never to see it.
    fn free_volume_name(&self, name: &str) -> String {
        let containers = self
            .pod
            .containers()
            .iter()
            .chain(self.pod.init_containers());
        let named: HashSet<&str> = containers
            .flat_map(Container::mounts)
            .map(|mount| mount.name.as_str())
            .filter(|mounted| mounted.starts_with(name))
            .collect();
        let taken = |candidate: &str| {
            named.contains(candidate)
                || self.pod.volumes().iter().any(|v| v.name == candidate)
                || self
                    .out
                    .list
                    .iter()
                    .any(|i| matches!(i, Injection::Volume { name: n, .. } if n == candidate))
        };
        let numbered = (2_u32..).map(|n| format!("{name}-{n}"));
        std::iter::once(name.to_owned())
            .chain(numbered)
            .find(|candidate| !taken(candidate))
            .unwrap_or_else(|| name.to_owned())
    }

    /// An annotation, if the pod has room for it and none of that key. Says whether it was added.
    pub fn annotation(&mut self, key: &'static str, value: String) -> bool {
        if self.pod.metadata.annotation(key).is_some() {
            self.note(Reason::PodSets(Setting::Annotation(key)));
            return false;
        }
        if !annotations_fit(self.pod, &self.out.list, key, &value) {
            self.note(Reason::AnnotationsFull(key.to_owned()));
            return false;
        }
        self.push(Injection::Annotation { key, value });
        true
    }

    /// A file that the pod carries in an annotation, mounted on `dir/file`.
    pub fn file(
        &mut self,
        place: ContainerRef,
        dir: &str,
        file: &'static str,
        key: &'static str,
        name: &str,
        content: String,
    ) {
        let path = format!("{dir}/{file}");
        let occupied = self
            .container(place)
            .is_some_and(|c| c.mounts().iter().any(|m| is_within(&path, &m.mount_path)));
        if occupied {
            if self.pod.metadata.annotation(key).is_none() {
                self.note(Reason::MountTaken(path));
            }
        } else if self.annotation(key, content) {
            let source = annotation_source(key, file);
            self.mount_file(place, &path, name, &source, Some(file));
        }
    }

    /// The volume that shows an annotation as `file`; `None` when the pod has no room for it.
    pub fn file_volume(
        &mut self,
        key: &'static str,
        name: &str,
        file: &str,
        content: String,
    ) -> Option<String> {
        self.annotation(key, content)
            .then(|| self.new_volume(name, &annotation_source(key, file)))
    }

    /// A supplemental group that the pod lacks.
    pub fn supplemental_group(&mut self, group: i64) {
        let context = self.pod.spec.security_context.as_ref();
        let present = context
            .and_then(|context| context.supplemental_groups.as_ref())
            .is_some_and(|groups| groups.contains(&group));
        let injection = Injection::SupplementalGroup(group);
        if !present && !self.out.list.contains(&injection) {
            self.push(injection);
        }
    }

    /// A request or a limit.
    pub fn resource(
        &mut self,
        place: ContainerRef,
        kind: ResourceKind,
        name: &str,
        quantity: &str,
    ) {
        self.push(Injection::Resource {
            container: place,
            container_name: self.name_of(place),
            kind,
            resource: name.to_owned(),
            quantity: quantity.to_owned(),
        });
    }

    /// A required node affinity, unless each of the pod's terms says the same.
    pub fn pin(&mut self, pin: &Pin) {
        let node_affinity = self
            .pod
            .spec
            .affinity
            .as_ref()
            .and_then(|a| a.node_affinity.as_ref());
        let terms = node_affinity
            .and_then(|affinity| affinity.required.as_ref())
            .and_then(|required| required.node_selector_terms.as_deref())
            .unwrap_or_default();
        let says = |term: &crate::pod::NodeSelectorTerm<'_>| {
            term.match_expressions.iter().flatten().any(|r| {
                r.key == pin.key.as_str()
                    && r.operator == "In"
                    && r.values
                        .iter()
                        .flatten()
                        .map(crate::pod::Str::as_str)
                        .eq(pin.values.iter().map(String::as_str))
            })
        };
        if terms.is_empty() || !terms.iter().all(says) {
            self.push(Injection::NodeAffinity(pin.clone()));
        }
    }

    /// Whether a container of this name is in the pod, and stays there.
    pub fn has_container(&self, name: &str) -> bool {
        let goes = match self.plan.dockerd {
            DockerdPlan::Remove(place) => self.container(place),
            _ => None,
        };
        let all = self
            .pod
            .containers()
            .iter()
            .chain(self.pod.init_containers());
        all.into_iter()
            .any(|c| c.name == name && goes.is_none_or(|goes| !std::ptr::eq(goes, c)))
    }
}

/// Whether the pod has room for one annotation more, beside those that `list` adds.
#[must_use]
pub fn annotations_fit(pod: &Pod<'_>, list: &[Injection], key: &str, value: &str) -> bool {
    let present = pod.metadata.annotations.iter();
    let used: usize = present
        .flat_map(Map::iter)
        .map(|(k, v)| k.len() + v.len())
        .sum();
    let added: usize = list
        .iter()
        .map(|injection| match injection {
            Injection::Annotation { key, value } => key.len() + value.len(),
            _ => 0,
        })
        .sum();
    used + added + key.len() + value.len() <= MAX_ANNOTATION_BYTES
}

/// The volume source that shows an annotation as a file.
fn annotation_source(key: &str, file: &str) -> Value {
    json!({"downwardAPI": {"items": [
        {"path": file, "fieldRef": {"fieldPath": format!("metadata.annotations['{key}']")}}
    ]}})
}

/// Whether a volume of the pod has this source, as far as the view can tell.
fn has_source(volume: &Volume<'_>, source: &Value) -> bool {
    let text = |kind: &str, field: &str| source.get(kind)?.get(field)?.as_str();
    if let Some(path) = text("hostPath", "path") {
        return volume.host_path.as_ref().is_some_and(|h| h.path == path);
    }
    if let Some(claim) = text("persistentVolumeClaim", "claimName") {
        let source = volume.persistent_volume_claim.as_ref();
        return source.is_some_and(|c| c.claim_name == claim);
    }
    source.get("emptyDir").is_some() && volume.empty_dir.is_some()
}
