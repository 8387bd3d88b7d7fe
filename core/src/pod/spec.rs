//! The parts of a pod's `spec`, except for containers and scheduling.

use serde::{Deserialize, de::IgnoredAny};

use super::{
    Container, List, Resources,
    json::{Map, Str, list},
    scheduling::{Affinity, Toleration},
    size_limits::{CONSTRAINTS, CONTAINERS, ENTRIES, VOLUMES},
};

/// Parts of `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    /// `nodeName`: the pod runs there without being scheduled.
    #[serde(borrow)]
    pub node_name: Option<Str<'a>>,
    /// `nodeSelector`.
    #[serde(borrow)]
    pub node_selector: Option<Map<'a, Str<'a>>>,
    /// `affinity`.
    #[serde(borrow)]
    pub affinity: Option<Affinity<'a>>,
    /// `tolerations`.
    #[serde(borrow, default, deserialize_with = "list::<_, _, CONSTRAINTS>")]
    pub tolerations: List<Toleration<'a>>,
    /// `runtimeClassName`.
    #[serde(borrow)]
    pub runtime_class_name: Option<Str<'a>>,
    /// `os`.
    #[serde(borrow)]
    pub os: Option<Os<'a>>,
    /// `schedulerName`.
    #[serde(borrow)]
    pub scheduler_name: Option<Str<'a>>,
    /// `resources` of the pod as a whole (Kubernetes 1.34 and later).
    #[serde(borrow)]
    pub resources: Option<Resources<'a>>,
    /// `hostAliases`: names that containers resolve without DNS.
    #[serde(borrow, default, deserialize_with = "list::<_, _, ENTRIES>")]
    pub host_aliases: List<HostAlias<'a>>,
    /// `hostUsers`: `false` puts the pod into a user namespace of its own.
    pub host_users: Option<bool>,
    /// `securityContext`.
    #[serde(borrow)]
    pub security_context: Option<PodSecurityContext<'a>>,
    /// `containers`.
    #[serde(borrow, default, deserialize_with = "list::<_, _, CONTAINERS>")]
    pub containers: List<Container<'a>>,
    /// `initContainers`, native sidecars among them.
    #[serde(borrow, default, deserialize_with = "list::<_, _, CONTAINERS>")]
    pub init_containers: List<Container<'a>>,
    /// `volumes`.
    #[serde(borrow, default, deserialize_with = "list::<_, _, VOLUMES>")]
    pub volumes: List<Volume<'a>>,
}

impl Spec<'_> {
    /// Returns whether the pod as a whole has a request or limit of CPU or memory. An empty object, which
    /// GitLab Runner always sends, is none.
    #[must_use]
    pub fn has_pod_level_resources(&self) -> bool {
        let Some(Resources { requests, limits }) = &self.resources else {
            return false;
        };
        let mut quantities = [requests, limits].into_iter().flatten();
        quantities.any(|named| ["cpu", "memory"].iter().any(|key| named.get(key).is_some()))
    }
}

/// An item of `spec.hostAliases`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct HostAlias<'a> {
    /// The address.
    #[serde(borrow, default)]
    pub ip: Str<'a>,
    /// Its names.
    #[serde(borrow, default, deserialize_with = "list::<_, _, ENTRIES>")]
    pub hostnames: List<Str<'a>>,
}

/// `spec.os`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Os<'a> {
    /// `linux` or `windows`.
    #[serde(borrow, default)]
    pub name: Str<'a>,
}

/// Parts of `spec.securityContext`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurityContext<'a> {
    /// `runAsUser`: the uid of containers that name none.
    pub run_as_user: Option<i64>,
    /// `fsGroup`: the kubelet gives the files of volumes to this group.
    pub fs_group: Option<i64>,
    /// `fsGroupChangePolicy`: `Always` (the default) or `OnRootMismatch`.
    #[serde(borrow)]
    pub fs_group_change_policy: Option<Str<'a>>,
    /// `supplementalGroups`.
    #[serde(default, deserialize_with = "list::<_, _, ENTRIES>")]
    pub supplemental_groups: List<i64>,
}

/// A volume: its name, and what distinguishes its source from others of the same kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume<'a> {
    /// The volume's name, unique in the pod.
    #[serde(borrow)]
    pub name: Str<'a>,
    /// `hostPath`.
    #[serde(borrow)]
    pub host_path: Option<HostPath<'a>>,
    /// `persistentVolumeClaim`.
    #[serde(borrow)]
    pub persistent_volume_claim: Option<ClaimSource<'a>>,
    /// `emptyDir`. Only its presence matters.
    pub empty_dir: Option<IgnoredAny>,
}

/// `hostPath` of a volume.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct HostPath<'a> {
    /// The path on the node.
    #[serde(borrow)]
    pub path: Str<'a>,
}

/// `persistentVolumeClaim` of a volume.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimSource<'a> {
    /// The claim's name.
    #[serde(borrow)]
    pub claim_name: Str<'a>,
}
