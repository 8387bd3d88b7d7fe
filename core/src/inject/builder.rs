//! Collects the changes to a pod and keeps their rules: nothing twice, and nothing that overrides
//! the pod's own settings, unless the profile says so.

use std::{borrow::Cow, collections::HashSet};

use super::Injections;
use crate::{
    decide::{DockerdPlan, Plan},
    dockerd::{Setting, StartWrapper},
    nodes::Pin,
    patch::{
        ArgChanges, ContainerChanges, EnvVar, NewContainer, PodChanges, Volume, VolumeMount,
        VolumeSource,
    },
    pod::{self, Container, ContainerRef, NodeSelectorTerm, Pod, Str, is_same_path, is_within},
    policy::Overwrite,
    reason::Reason,
};

/// The changes to a pod in the making. What they borrow from the pod's JSON, the policy and the
/// cluster lives for `'a`.
pub(super) struct Builder<'b, 'a> {
    pub pod: &'b Pod<'a>,
    pub plan: &'b Plan<'a>,
    changes: PodChanges<'a>,
    notes: Vec<Reason>,
    wants_claim: bool,
}

impl<'b, 'a> Builder<'b, 'a> {
    pub fn new(pod: &'b Pod<'a>, plan: &'b Plan<'a>) -> Self {
        Self {
            pod,
            plan,
            changes: PodChanges::default(),
            notes: Vec::new(),
            wants_claim: false,
        }
    }

    pub fn finish(self) -> Injections<'a> {
        Injections {
            changes: self.changes,
            notes: self.notes,
            wants_claim: self.wants_claim,
        }
    }

    pub fn container(&self, at: ContainerRef) -> Option<&'b Container<'a>> {
        self.pod.container(at)
    }

    /// Returns whether the pod has a container of this name that stays.
    pub fn has_container(&self, name: &str) -> bool {
        let removed = match self.plan.dockerd {
            DockerdPlan::Remove(at) => self.container(at),
            _ => None,
        };
        let containers = self.pod.containers().iter();
        let mut all = containers.chain(self.pod.init_containers());
        all.any(|c| c.name == name && removed.is_none_or(|removed| !std::ptr::eq(removed, c)))
    }

    /// Notes a reason, once.
    pub fn note(&mut self, reason: Reason) {
        if !self.notes.contains(&reason) {
            self.notes.push(reason);
        }
    }

    pub fn has_note(&self, reason: &Reason) -> bool {
        self.notes.contains(reason)
    }

    /// Notes that the pod would get a leased claim.
    pub fn want_claim(&mut self) {
        self.wants_claim = true;
    }

    /// Returns whether the profile lets values of the pod be replaced.
    pub fn overwrites(&self) -> bool {
        self.plan.profile.overwrite == Overwrite::All
    }

    /// Returns whether the profile lets resources of a dockerd container be replaced.
    pub fn overwrites_resources(&self) -> bool {
        self.plan.profile.overwrite >= Overwrite::DockerdResources
    }

    /// The changes to a container of the pod.
    pub fn changes_to(&mut self, at: ContainerRef) -> &mut ContainerChanges<'a> {
        let container = self.pod.container(at);
        let changes = self.changes.containers.entry(at);
        changes.or_insert_with(|| ContainerChanges {
            name: container.map_or(Cow::Borrowed(""), |c| c.name.to_cow()),
            ..ContainerChanges::default()
        })
    }
}

/// Containers.
impl<'a> Builder<'_, 'a> {
    /// Replaces the image.
    pub fn set_image(&mut self, at: ContainerRef, image: impl Into<Cow<'a, str>>) {
        self.changes_to(at).image = Some(image.into());
    }

    /// Replaces the `command`.
    pub fn set_command(&mut self, at: ContainerRef, command: StartWrapper<'a>) {
        self.changes_to(at).command = Some(command);
    }

    /// Appends arguments. With `keep`, all present arguments but these are removed.
    pub fn set_args(
        &mut self,
        at: ContainerRef,
        keep: Option<Vec<Cow<'a, str>>>,
        add: Vec<Cow<'a, str>>,
    ) {
        self.changes_to(at).args = Some(ArgChanges { keep, add });
    }

    /// Adds a container.
    pub fn add_container(&mut self, container: NewContainer<'a>) {
        self.changes.added.push(container);
    }

    /// Removes a container.
    pub fn remove_container(&mut self, at: ContainerRef) {
        self.changes.removed = Some(at);
    }

    /// Sets a variable where the pod has none of that name, or the profile overwrites.
    pub fn env(
        &mut self,
        at: ContainerRef,
        name: impl Into<Cow<'a, str>>,
        value: impl Into<Cow<'a, str>>,
    ) {
        let (name, value) = (name.into(), value.into());
        let present = self.container(at).and_then(|c| c.env_var(&name));
        match present {
            Some(var) if var.value.as_deref() == Some(&*value) => {}
            Some(_) if !self.overwrites() => {
                self.note(Reason::PodSets(Setting::Variable(name.into_owned())));
            }
            _ => self.set_env(at, name, value),
        }
    }

    /// Sets a variable, even where the pod has another value.
    pub fn set_env(
        &mut self,
        at: ContainerRef,
        name: impl Into<Cow<'a, str>>,
        value: impl Into<Cow<'a, str>>,
    ) {
        let (name, value) = (name.into(), value.into());
        if self.container(at).and_then(|c| c.env_value(&name)) == Some(&*value) {
            return;
        }
        let env = &mut self.changes_to(at).env;
        if !env.iter().any(|var| var.name == name) {
            env.push(EnvVar { name, value });
        }
    }

    /// Sets a variable in every container in which jobs run, as [`Self::env`] does.
    pub fn client_env(&mut self, name: &'a str, value: impl Into<Cow<'a, str>>) {
        let (plan, value) = (self.plan, value.into());
        for at in &plan.clients {
            self.env(*at, name, value.clone());
        }
    }

    /// Sets a variable in every container in which jobs run and which has none of that name. A
    /// container that has one is not worth a note.
    pub fn default_client_env(&mut self, name: &'a str, value: impl Into<Cow<'a, str>>) {
        let (plan, value) = (self.plan, value.into());
        for at in &plan.clients {
            let client = self.container(*at);
            if client.is_some_and(|c| c.env_var(name).is_none()) {
                self.set_env(*at, name, value.clone());
            }
        }
    }
}

/// Volumes and their mounts.
impl<'a> Builder<'_, 'a> {
    /// Returns whether the container mounts nothing at `path` or below.
    pub fn is_unoccupied(&self, at: ContainerRef, path: &str) -> bool {
        let mounts = self.container(at).map_or(&[][..], Container::mounts);
        !mounts.iter().any(|m| is_within(&m.mount_path, path))
    }

    /// Returns whether the mount of a file at `path` would lie in a volume of the pod in which the kubelet may not be
    /// able to create it. In an `emptyDir` it can.
    pub fn is_in_foreign_volume(&self, at: ContainerRef, path: &str) -> bool {
        let is_scratch = |name: &str| {
            let mut volumes = self.pod.volumes().iter();
            volumes.any(|volume| volume.name == name && volume.empty_dir.is_some())
        };
        let mounts = self.container(at).map_or(&[][..], Container::mounts);
        mounts.iter().any(|mount| {
            let is_around =
                is_within(path, &mount.mount_path) && !is_same_path(path, &mount.mount_path);
            is_around && !is_scratch(&mount.name)
        })
    }

    /// Returns whether the volume at `path` has the name that Slipway would give it.
    pub fn is_ours(&self, at: ContainerRef, path: &str, name: &str) -> bool {
        let mount = self.container(at).and_then(|c| c.mount_at(path));
        mount.is_some_and(|mount| mount.name.starts_with(name))
    }

    /// Mounts a volume on `path`, unless something is mounted there or below. Returns whether it
    /// was mounted.
    pub fn mount(
        &mut self,
        at: ContainerRef,
        path: impl Into<Cow<'a, str>>,
        name: &'static str,
        source: &VolumeSource<'a>,
    ) -> bool {
        let path = path.into();
        if !self.is_free(at, &path, name) {
            return false;
        }
        let volume = self.volume(name, source);
        let mount = VolumeMount::whole(volume, path);
        self.changes_to(at).mounts.push(mount);
        true
    }

    /// Mounts a volume as [`Self::mount`] does. Returns whether it is there, also from an earlier decision.
    pub fn ensure_mount(
        &mut self,
        at: ContainerRef,
        path: impl Into<Cow<'a, str>>,
        name: &'static str,
        source: &VolumeSource<'a>,
    ) -> bool {
        let path = path.into();
        self.mount(at, path.clone(), name, source) || self.is_ours(at, &path, name)
    }

    /// Returns whether a volume can be mounted on `path`; a note says why not.
    fn is_free(&mut self, at: ContainerRef, path: &str, name: &str) -> bool {
        // A mount below would be hidden, or would hide ours: the pod's own wins.
        if !self.is_unoccupied(at, path) {
            if !self.is_ours(at, path, name) {
                self.note(Reason::MountTaken(path.to_owned()));
            }
            return false;
        }
        let changes = self.changes.containers.get(&at);
        let added = changes.map_or(&[][..], |changes| &changes.mounts);
        !added.iter().any(|mount| is_same_path(&mount.path, path))
    }

    /// Returns the name of a volume with this source: one that the pod has, or a new one.
    pub fn volume(&mut self, name: &'static str, source: &VolumeSource<'a>) -> Cow<'a, str> {
        if let Some(added) = self.added_volume(name, source) {
            return added;
        }
        let mut present = self.pod.volumes().iter();
        match present.find(|v| v.name.starts_with(name) && has_source(v, source)) {
            Some(volume) => volume.name.to_cow(),
            None => self.add_volume(name, source),
        }
    }

    /// Returns the name of a volume with this source that the pod does not bring. A privileged
    /// container that Slipway adds trusts what is in the volume, and anyone who made the pod could
    /// have mounted a volume of its own elsewhere, too.
    pub fn new_volume(&mut self, name: &'static str, source: &VolumeSource<'a>) -> Cow<'a, str> {
        let added = self.added_volume(name, source);
        added.unwrap_or_else(|| self.add_volume(name, source))
    }

    fn added_volume(&self, name: &str, source: &VolumeSource<'a>) -> Option<Cow<'a, str>> {
        let mut added = self.changes.volumes.iter();
        let same = added.find(|v| v.source == *source && v.name.starts_with(name));
        same.map(|volume| volume.name.clone())
    }

    fn add_volume(&mut self, name: &'static str, source: &VolumeSource<'a>) -> Cow<'a, str> {
        let name = self.free_volume_name(name);
        self.changes.volumes.push(Volume {
            name: name.clone(),
            source: source.clone(),
        });
        name
    }

    /// Returns a name that no volume has, and that no mount uses: a mount without a volume would
    /// get hold of ours, in a container that must not see it.
    fn free_volume_name(&self, name: &'static str) -> Cow<'a, str> {
        let containers = self.pod.containers().iter();
        let mounts = containers
            .chain(self.pod.init_containers())
            .flat_map(Container::mounts);
        let present = self.pod.volumes().iter().map(|volume| volume.name.as_str());
        let added = self.changes.volumes.iter().map(|volume| &*volume.name);
        let taken: HashSet<&str> = present
            .chain(added)
            .chain(mounts.map(|mount| mount.name.as_str()))
            .filter(|taken| taken.starts_with(name))
            .collect();
        let numbered = (2_u32..).map(|n| Cow::Owned(format!("{name}-{n}")));
        std::iter::once(Cow::Borrowed(name))
            .chain(numbered)
            .find(|candidate| !taken.contains(&**candidate))
            .unwrap_or(Cow::Borrowed(name))
    }
}

/// Files that the pod carries in annotations.
impl<'a> Builder<'_, 'a> {
    /// Mounts an annotation as the file `dir/file`.
    pub fn file(
        &mut self,
        at: ContainerRef,
        dir: &str,
        file: &'static str,
        key: &'static str,
        name: &'static str,
        content: String,
    ) {
        let path = format!("{dir}/{file}");
        let mounts = self.container(at).map_or(&[][..], Container::mounts);
        if mounts.iter().any(|m| is_within(&path, &m.mount_path)) {
            if self.pod.metadata.annotation(key).is_none() {
                self.note(Reason::MountTaken(path));
            }
            return;
        }
        if self.annotation(key, content) && self.is_free(at, &path, name) {
            let volume = self.volume(name, &VolumeSource::annotation(key, file));
            let mount = VolumeMount::file(volume, path, file);
            self.changes_to(at).mounts.push(mount);
        }
    }

    /// Adds a volume that shows an annotation as `file`, and returns its name; `None` when the pod
    /// has no room for the annotation.
    pub fn file_volume(
        &mut self,
        key: &'static str,
        name: &'static str,
        file: &'static str,
        content: String,
    ) -> Option<Cow<'a, str>> {
        let added = self.annotation(key, content);
        added.then(|| self.new_volume(name, &VolumeSource::annotation(key, file)))
    }

    /// Adds an annotation, if the pod has room for it and none of that key. Returns whether it was
    /// added.
    fn annotation(&mut self, key: &'static str, value: String) -> bool {
        if self.pod.metadata.annotation(key).is_some() {
            self.note(Reason::PodSets(Setting::Annotation(key)));
            return false;
        }
        let added = self.changes.annotate(self.pod, key, value.into());
        if !added {
            self.note(Reason::AnnotationsFull(key));
        }
        added
    }
}

/// The pod as a whole.
impl<'a> Builder<'_, 'a> {
    /// Adds a label.
    pub fn label(&mut self, key: &'static str, value: impl Into<Cow<'a, str>>) {
        self.changes.labels.insert(key, value.into());
    }

    /// Adds a supplemental group that the pod lacks.
    pub fn supplemental_group(&mut self, group: i64) {
        let context = self.pod.spec.security_context.as_ref();
        let present = context.and_then(|context| context.supplemental_groups.as_ref());
        let added = &mut self.changes.supplemental_groups;
        if !present.is_some_and(|groups| groups.contains(&group)) && !added.contains(&group) {
            added.push(group);
        }
    }

    /// Adds a required node affinity, unless each of the pod's terms has it already.
    pub fn pin(&mut self, pin: &Pin) {
        let affinity = self.pod.spec.affinity.as_ref();
        let node = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let required = node.and_then(|node| node.required.as_ref());
        let terms = required.and_then(|required| required.node_selector_terms.as_deref());
        let has_pin = |term: &NodeSelectorTerm<'_>| {
            let mut expressions = term.match_expressions.iter().flatten();
            expressions.any(|r| {
                let values = r.values.iter().flatten().map(Str::as_str);
                r.key == pin.key.as_str()
                    && r.operator == "In"
                    && values.eq(pin.values.iter().map(String::as_str))
            })
        };
        let terms = terms.unwrap_or_default();
        if terms.is_empty() || !terms.iter().all(has_pin) {
            self.changes.node_affinity = Some(pin.clone());
        }
    }
}

/// Returns whether a volume of the pod has this source, as far as the view of the pod can tell.
fn has_source(volume: &pod::Volume<'_>, source: &VolumeSource<'_>) -> bool {
    match source {
        VolumeSource::HostPath(host) => {
            let present = volume.host_path.as_ref();
            present.is_some_and(|present| *present.path == *host.path)
        }
        VolumeSource::PersistentVolumeClaim(claim) => {
            let present = volume.persistent_volume_claim.as_ref();
            present.is_some_and(|present| *present.claim_name == *claim.claim_name)
        }
        VolumeSource::EmptyDir(_) => volume.empty_dir.is_some(),
        VolumeSource::Ephemeral(_) | VolumeSource::DownwardApi(_) => false,
    }
}
