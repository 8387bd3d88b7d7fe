//! What changes in a pod, folded by container.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::values::{EnvVar, NewContainer, Volume, VolumeMount, VolumeSource};
use crate::{
    dockerd::StartWrapper,
    k8s::quantity::Quantity,
    nodes::Pin,
    pod::{ContainerRef, Map, Pod},
};

/// The API server's limit on the annotations of one object, keys and values together
/// (`TotalAnnotationSizeLimitB`).
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// Everything that changes in one pod. Texts are borrowed from the pod, the policy and the cluster
/// wherever they exist there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodChanges<'a> {
    /// Annotations to add.
    pub annotations: BTreeMap<&'static str, Cow<'a, str>>,
    /// Labels to add.
    pub labels: BTreeMap<&'static str, Cow<'a, str>>,
    /// Volumes to add.
    pub volumes: Vec<Volume<'a>>,
    /// Groups that every process of the pod gets.
    pub supplemental_groups: Vec<i64>,
    /// A required node affinity, ANDed with what the pod asks for.
    pub node_affinity: Option<Pin>,
    /// Changes to the pod's own containers.
    pub containers: BTreeMap<ContainerRef, ContainerChanges<'a>>,
    /// Containers to add.
    pub added: Vec<NewContainer<'a>>,
    /// The dockerd sidecar to remove.
    pub removed: Option<ContainerRef>,
}

/// Changes to one of the pod's own containers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerChanges<'a> {
    /// The container's name, for people.
    pub name: Cow<'a, str>,
    /// The image to run instead.
    pub image: Option<Cow<'a, str>>,
    /// The whole `command`, which starts dockerd through the start wrapper.
    pub command: Option<StartWrapper<'a>>,
    /// Arguments for dockerd.
    pub args: Option<ArgChanges<'a>>,
    /// Variables to set; one of the same name is replaced.
    pub env: Vec<EnvVar<'a>>,
    /// Requests to set, by resource name.
    pub requests: BTreeMap<Cow<'a, str>, Quantity>,
    /// Limits to set, by resource name.
    pub limits: BTreeMap<Cow<'a, str>, Quantity>,
    /// How often the startup probe runs.
    pub startup_probe: Option<ProbeTiming>,
    /// Mounts to add.
    pub mounts: Vec<VolumeMount<'a>>,
}

/// When a probe that the container has runs, and when it has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeTiming {
    /// `periodSeconds`.
    pub period: u32,
    /// `failureThreshold`.
    pub failure_threshold: u32,
}

/// Changes to a container's `args`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgChanges<'a> {
    /// The present arguments that stay when others are replaced; `None` when all of them stay.
    pub keep: Option<Vec<Cow<'a, str>>>,
    /// The arguments to append.
    pub add: Vec<Cow<'a, str>>,
}

impl<'a> PodChanges<'a> {
    /// Returns whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        let pod = self.annotations.len()
            + self.labels.len()
            + self.volumes.len()
            + self.supplemental_groups.len()
            + usize::from(self.node_affinity.is_some())
            + self.added.len()
            + usize::from(self.removed.is_some());
        let containers = self.containers.values().map(ContainerChanges::len);
        pod + containers.sum::<usize>()
    }

    /// Adds an annotation if the pod's annotations stay within the API server's limit. Returns
    /// whether it was added.
    pub fn annotate(&mut self, pod: &Pod<'_>, key: &'static str, value: Cow<'a, str>) -> bool {
        let present = pod.metadata.annotations.iter().flat_map(Map::iter);
        let used: usize = present.map(|(k, v)| k.len() + v.len()).sum();
        let added = self.annotations.iter();
        let added: usize = added.map(|(k, v)| k.len() + v.len()).sum();
        let fits = used + added + key.len() + value.len() <= MAX_ANNOTATION_BYTES;
        if fits {
            self.annotations.insert(key, value);
        }
        fits
    }

    /// Returns the access to the host that the changes grant, each once: the host paths, and
    /// `privileged:NAME` for each privileged container.
    #[must_use]
    pub fn host_access(&self, pod: &Pod<'_>) -> Vec<String> {
        let added = self
            .volumes
            .iter()
            .filter_map(|volume| match &volume.source {
                VolumeSource::HostPath(host) => Some(host.path.to_string()),
                _ => None,
            });
        // A new mount grants access to a host path of the pod's own, too: without the mount, the
        // container would not see it.
        let mounts = self.containers.values().flat_map(|c| &c.mounts);
        let mounted = mounts.filter_map(|mount| {
            let mut own = pod.volumes().iter();
            let volume = own.find(|volume| *volume.name == *mount.name)?;
            Some(volume.host_path.as_ref()?.path.to_string())
        });
        let privileged = self.added.iter().filter(|c| c.security_context.privileged);
        let privileged = privileged.map(|container| format!("privileged:{}", container.name));
        let mut seen = BTreeSet::new();
        let mut all: Vec<String> = added.chain(mounted).chain(privileged).collect();
        all.retain(|access| seen.insert(access.clone()));
        all
    }

    /// Describes each change in a line, for people.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.volumes.iter().map(ToString::to_string).collect();
        let groups = self.supplemental_groups.iter();
        lines.extend(groups.map(|group| format!("supplemental group {group}")));
        lines.extend(self.node_affinity.iter().map(|pin| {
            let values = pin.values.join(", ");
            format!("node affinity: {} in ({values})", pin.key)
        }));
        for container in self.containers.values() {
            container.describe(&mut lines);
        }
        let added = self.added.iter();
        lines.extend(added.map(|c| format!("container {}: {}", c.name, c.image)));
        if self.removed.is_some() {
            lines.push("dockerd sidecar: removed".to_owned());
        }
        let labels = self.labels.iter();
        lines.extend(labels.map(|(key, value)| format!("label {key}: {value}")));
        let annotations = self.annotations.iter();
        lines.extend(annotations.map(|(key, value)| format!("annotation {key}: {value}")));
        lines
    }
}

impl ContainerChanges<'_> {
    fn len(&self) -> usize {
        usize::from(self.image.is_some())
            + usize::from(self.command.is_some())
            + usize::from(self.args.is_some())
            + self.env.len()
            + self.requests.len()
            + self.limits.len()
            + usize::from(self.startup_probe.is_some())
            + self.mounts.len()
    }

    fn describe(&self, lines: &mut Vec<String>) {
        let name = &self.name;
        if let Some(image) = &self.image {
            lines.push(format!("{name}: image {image}"));
        }
        if let Some(command) = &self.command {
            lines.push(format!("{name}: {command}"));
        }
        if let Some(args) = &self.args {
            lines.push(format!("{name}: arguments {}", args.add.join(" ")));
        }
        let env = self.env.iter();
        lines.extend(env.map(|var| format!("{name}: env {}={}", var.name, var.value)));
        for (kind, quantities) in [("requests", &self.requests), ("limits", &self.limits)] {
            let quantities = quantities.iter();
            lines
                .extend(quantities.map(|(of, quantity)| format!("{name}: {kind}.{of} {quantity}")));
        }
        lines.extend(self.startup_probe.iter().map(|probe| {
            let ProbeTiming {
                period,
                failure_threshold,
            } = probe;
            format!("{name}: startup probe every {period} s, {failure_threshold} times")
        }));
        let mounts = self.mounts.iter();
        lines.extend(mounts.map(|mount| format!("{name}: mount {} on {}", mount.name, mount.path)));
    }
}
