//! A borrowed, read-only view of a Pod: what Slipway looks at, and nothing else.
//!
//! The view never becomes the Pod again. Patches are written against the raw object, so that
//! fields which this version does not know survive. Every list may be absent or `null`
//! (both are legal JSON for an empty Go slice), which is why lists are `Option`s: a JSON Patch
//! must create the list that it appends to (RFC 6902, section 4.1).

mod json;
mod path;
mod size;

use serde::Deserialize;

pub use json::{Map, Scalar, Str};
pub use path::{canonical_path, is_same_path, is_within};
use size::{ARGUMENTS, CONSTRAINTS, CONTAINERS, ENTRIES, MOUNTS, VARIABLES, VOLUMES};

/// The longest name of an object, in bytes.
const MAX_NAME: usize = 253;

/// A list that may be absent or `null`.
pub type List<T> = Option<Vec<T>>;

/// The parts of a Pod (or of a pod template) that decisions look at.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Pod<'a> {
    /// `metadata`.
    #[serde(borrow, default)]
    pub metadata: Metadata<'a>,
    /// `spec`.
    #[serde(borrow, default)]
    pub spec: Spec<'a>,
}

/// Parts of `metadata`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// `name`; absent at creation when `generateName` is used.
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
    /// `generateName`, the prefix of the name to come.
    #[serde(borrow)]
    pub generate_name: Option<Str<'a>>,
    /// `namespace`; pods at creation may leave it to the request.
    #[serde(borrow)]
    pub namespace: Option<Str<'a>>,
    /// `labels`.
    #[serde(borrow)]
    pub labels: Option<Map<'a, Str<'a>>>,
    /// `annotations`.
    #[serde(borrow)]
    pub annotations: Option<Map<'a, Str<'a>>>,
    /// `ownerReferences`.
    #[serde(borrow, default, deserialize_with = "json::list::<_, _, ENTRIES>")]
    pub owner_references: List<OwnerReference<'a>>,
    /// Whether there is any `metadata`, to which something could be added.
    #[serde(skip, default = "present")]
    pub is_present: bool,
}

fn present() -> bool {
    true
}

/// An item of `metadata.ownerReferences`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference<'a> {
    /// `apiVersion`.
    #[serde(borrow, default)]
    pub api_version: Str<'a>,
    /// `kind`.
    #[serde(borrow, default)]
    pub kind: Str<'a>,
    /// `name`.
    #[serde(borrow, default)]
    pub name: Str<'a>,
    /// `uid`.
    #[serde(borrow, default)]
    pub uid: Str<'a>,
    /// Whether it is the object that manages the pod.
    pub controller: Option<bool>,
}

impl Metadata<'_> {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key).map(Str::as_str)
    }

    /// The object that manages the pod.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerReference<'_>> {
        let mut owners = self.owner_references.iter().flatten();
        owners.find(|owner| owner.controller == Some(true))
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(Str::as_str)
    }
}

/// Parts of `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    /// `nodeName`: the pod goes there, past the scheduler.
    #[serde(borrow)]
    pub node_name: Option<Str<'a>>,
    /// `nodeSelector`.
    #[serde(borrow)]
    pub node_selector: Option<Map<'a, Str<'a>>>,
    /// `affinity`.
    #[serde(borrow)]
    pub affinity: Option<Affinity<'a>>,
    /// `tolerations`.
    #[serde(borrow, default, deserialize_with = "json::list::<_, _, CONSTRAINTS>")]
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
    /// `resources` of the pod as a whole (Kubernetes 1.34 and later), of which the presence matters.
    pub resources: Option<serde::de::IgnoredAny>,
    /// `hostUsers`: `false` puts the pod into a user namespace of its own.
    pub host_users: Option<bool>,
    /// `securityContext`.
    pub security_context: Option<PodSecurityContext>,
    /// `containers`.
    #[serde(borrow, default, deserialize_with = "json::list::<_, _, CONTAINERS>")]
    pub containers: List<Container<'a>>,
    /// `initContainers`, native sidecars among them.
    #[serde(borrow, default, deserialize_with = "json::list::<_, _, CONTAINERS>")]
    pub init_containers: List<Container<'a>>,
    /// `volumes`.
    #[serde(borrow, default, deserialize_with = "json::list::<_, _, VOLUMES>")]
    pub volumes: List<Volume<'a>>,
}

/// `spec.affinity`, of which only the node part counts here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Affinity<'a> {
    /// `nodeAffinity`.
    #[serde(borrow)]
    pub node_affinity: Option<NodeAffinity<'a>>,
}

/// `spec.affinity.nodeAffinity`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct NodeAffinity<'a> {
    /// The part that the scheduler must obey.
    #[serde(borrow, rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector<'a>>,
}

/// A node selector: its terms are ORed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector<'a> {
    /// `nodeSelectorTerms`.
    #[serde(borrow, default, deserialize_with = "json::list::<_, _, CONSTRAINTS>")]
    pub node_selector_terms: List<NodeSelectorTerm<'a>>,
}

/// A term of a node selector: its expressions and fields are ANDed; an empty term matches nothing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelectorTerm<'a> {
    /// `matchExpressions`, over labels.
    #[serde(borrow, default, deserialize_with = "json::list::<_, _, CONSTRAINTS>")]
    pub match_expressions: List<NodeSelectorRequirement<'a>>,
    /// `matchFields`, over fields: Kubernetes supports `metadata.name` alone.
    #[serde(borrow, default, deserialize_with = "json::list::<_, _, CONSTRAINTS>")]
    pub match_fields: List<NodeSelectorRequirement<'a>>,
}

/// `key operator values`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct NodeSelectorRequirement<'a> {
    /// A label's key or a field's path.
    #[serde(borrow)]
    pub key: Str<'a>,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`.
    #[serde(borrow)]
    pub operator: Str<'a>,
    /// The values; one integer for `Gt` and `Lt`.
    #[serde(borrow, default, deserialize_with = "json::list::<_, _, CONSTRAINTS>")]
    pub values: List<Str<'a>>,
}

/// A toleration. An empty key with `Exists` tolerates everything; an empty effect means all effects.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Toleration<'a> {
    /// The taint's key.
    #[serde(borrow)]
    pub key: Option<Str<'a>>,
    /// `Exists`, `Equal` (the default), and `Gt`, `Lt` where the API has them.
    #[serde(borrow)]
    pub operator: Option<Str<'a>>,
    /// The taint's value.
    #[serde(borrow)]
    pub value: Option<Str<'a>>,
    /// `NoSchedule`, `PreferNoSchedule`, `NoExecute`.
    #[serde(borrow)]
    pub effect: Option<Str<'a>>,
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
pub struct PodSecurityContext {
    /// `runAsUser`: the uid of containers that name none.
    pub run_as_user: Option<i64>,
    /// `supplementalGroups`.
    #[serde(default, deserialize_with = "json::list::<_, _, ENTRIES>")]
    pub supplemental_groups: List<i64>,
}

/// Parts of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    /// `name`, unique in the pod.
    #[serde(borrow)]
    pub name: Str<'a>,
    /// `image`.
    #[serde(borrow)]
    pub image: Option<Str<'a>>,
    /// `command`, which replaces the image's entrypoint.
    #[serde(borrow, default, deserialize_with = "json::list::<_, _, ARGUMENTS>")]
    pub command: List<Str<'a>>,
    /// `args`, which replace the image's command.
    #[serde(borrow, default, deserialize_with = "json::list::<_, _, ARGUMENTS>")]
    pub args: List<Str<'a>>,
    /// `env`.
    #[serde(
        borrow,
        default,
        deserialize_with = "json::long_list::<_, _, VARIABLES>"
    )]
    pub env: List<EnvVar<'a>>,
    /// `volumeMounts`.
    #[serde(borrow, default, deserialize_with = "json::list::<_, _, MOUNTS>")]
    pub volume_mounts: List<VolumeMount<'a>>,
    /// `resources`.
    #[serde(borrow)]
    pub resources: Option<Resources<'a>>,
    /// `securityContext`.
    pub security_context: Option<ContainerSecurityContext>,
    /// `restartPolicy`: `Always` makes an init container a native sidecar.
    #[serde(borrow)]
    pub restart_policy: Option<Str<'a>>,
}

impl<'a> Container<'a> {
    /// The variable `name`; of two with one name the kubelet takes the last.
    #[must_use]
    pub fn env_var(&self, name: &str) -> Option<&EnvVar<'a>> {
        self.env
            .as_deref()?
            .iter()
            .rev()
            .find(|var| var.name.as_str() == name)
    }

    /// The literal value of the variable `name`; `None` too when it comes from elsewhere.
    #[must_use]
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env_var(name)?.value.as_deref()
    }

    /// The mount at `path`, however it is spelled (`/run/`, `//run`; `/var/run` is `/run`).
    #[must_use]
    pub fn mount_at(&self, path: &str) -> Option<&VolumeMount<'a>> {
        let mut mounts = self.mounts().iter();
        mounts.find(|mount| is_same_path(&mount.mount_path, path))
    }

    /// `volumeMounts`, empty when absent.
    #[must_use]
    pub fn mounts(&self) -> &[VolumeMount<'a>] {
        self.volume_mounts.as_deref().unwrap_or_default()
    }

    /// Whether this init container is a native sidecar (Kubernetes 1.29 and later).
    #[must_use]
    pub fn is_native_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    /// Whether it asks for `privileged`.
    #[must_use]
    pub fn is_privileged(&self) -> bool {
        self.security_context
            .as_ref()
            .is_some_and(|context| context.privileged == Some(true))
    }
}

/// An entry of `env`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct EnvVar<'a> {
    /// The variable's name.
    #[serde(borrow)]
    pub name: Str<'a>,
    /// Its literal value; absent with `valueFrom`.
    #[serde(borrow)]
    pub value: Option<Str<'a>>,
}

/// An entry of `volumeMounts`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount<'a> {
    /// The volume's name.
    #[serde(borrow)]
    pub name: Str<'a>,
    /// Where it stands in the container.
    #[serde(borrow)]
    pub mount_path: Str<'a>,
    /// The part of the volume that is mounted, if not all of it.
    #[serde(borrow)]
    pub sub_path: Option<Str<'a>>,
    /// The same, with variables in it.
    #[serde(borrow)]
    pub sub_path_expr: Option<Str<'a>>,
}

/// Parts of a container's `securityContext`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSecurityContext {
    /// `privileged`.
    pub privileged: Option<bool>,
    /// `runAsUser`.
    pub run_as_user: Option<i64>,
}

/// `resources`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Resources<'a> {
    /// `requests`, by resource name.
    #[serde(borrow)]
    pub requests: Option<Map<'a, Scalar<'a>>>,
    /// `limits`, by resource name.
    #[serde(borrow)]
    pub limits: Option<Map<'a, Scalar<'a>>>,
}

/// A volume: its name, and of its source what tells two of one kind apart.
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
    /// `emptyDir`, of which only the presence matters.
    pub empty_dir: Option<serde::de::IgnoredAny>,
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

/// Where a container stands in the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerRef {
    /// `spec.containers[i]`.
    Container(usize),
    /// `spec.initContainers[i]`.
    Init(usize),
}

impl<'a> Pod<'a> {
    /// Parses a Pod's JSON.
    ///
    /// # Errors
    /// When the bytes are not JSON, or a field that Slipway reads has the wrong type.
    pub fn parse(json: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// `spec.containers`, empty when absent.
    #[must_use]
    pub fn containers(&self) -> &[Container<'a>] {
        self.spec.containers.as_deref().unwrap_or_default()
    }

    /// `spec.initContainers`, empty when absent.
    #[must_use]
    pub fn init_containers(&self) -> &[Container<'a>] {
        self.spec.init_containers.as_deref().unwrap_or_default()
    }

    /// `spec.volumes`, empty when absent.
    #[must_use]
    pub fn volumes(&self) -> &[Volume<'a>] {
        self.spec.volumes.as_deref().unwrap_or_default()
    }

    /// The container at `place`.
    #[must_use]
    pub fn container(&self, place: ContainerRef) -> Option<&Container<'a>> {
        match place {
            ContainerRef::Container(i) => self.containers().get(i),
            ContainerRef::Init(i) => self.init_containers().get(i),
        }
    }

    /// The containers that live as long as the pod: `containers` and native sidecars.
    pub fn long_lived(&self) -> impl Iterator<Item = (ContainerRef, &Container<'a>)> {
        let containers = self.containers().iter().enumerate();
        let sidecars = self.init_containers().iter().enumerate();
        containers
            .map(|(i, c)| (ContainerRef::Container(i), c))
            .chain(
                sidecars
                    .filter(|(_, c)| c.is_native_sidecar())
                    .map(|(i, c)| (ContainerRef::Init(i), c)),
            )
    }

    /// The name, or `generateName` with a star, for people. It comes before the API server's own
    /// checks, so it is cut to what a name may have.
    #[must_use]
    pub fn display_name(&self) -> String {
        let (name, star) = match (&self.metadata.name, &self.metadata.generate_name) {
            (Some(name), _) => (name.as_str(), ""),
            (None, Some(prefix)) => (prefix.as_str(), "*"),
            (None, None) => ("(no name)", ""),
        };
        let printable = name.chars().filter(|c| !c.is_control());
        let mut shown: String = printable.take(MAX_NAME).collect();
        while shown.len() > MAX_NAME {
            shown.pop();
        }
        shown + star
    }

    /// Whether the pod says that it runs on Windows.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        let selects = |key| {
            self.spec
                .node_selector
                .as_ref()
                .and_then(|selector| selector.get(key))
                .is_some_and(|os| *os == "windows")
        };
        self.spec.os.as_ref().is_some_and(|os| os.name == "windows")
            || selects("kubernetes.io/os")
            || selects("beta.kubernetes.io/os")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_lists_are_empty_lists() {
        let pod = Pod::parse(
            br#"{"metadata":{"labels":null,"annotations":null},"spec":{"containers":null,"volumes":null,"initContainers":null,"tolerations":null}}"#,
        )
        .unwrap();
        assert!(pod.containers().is_empty());
        assert!(pod.volumes().is_empty());
    }

    #[test]
    fn an_empty_object_is_a_pod_without_anything() {
        let pod = Pod::parse(b"{}").unwrap();
        assert_eq!(pod.display_name(), "(no name)");
    }

    #[test]
    fn windows_is_told_by_os_or_node_selector() {
        for spec in [
            r#"{"spec":{"os":{"name":"windows"}}}"#,
            r#"{"spec":{"nodeSelector":{"kubernetes.io/os":"windows"}}}"#,
        ] {
            assert!(Pod::parse(spec.as_bytes()).unwrap().is_windows(), "{spec}");
        }
        assert!(
            !Pod::parse(br#"{"spec":{"os":{"name":"linux"}}}"#)
                .unwrap()
                .is_windows()
        );
    }

    #[test]
    fn the_last_of_two_variables_with_one_name_counts() {
        let container: Container<'_> = serde_json::from_str(
            r#"{"name":"c","env":[{"name":"A","value":"1"},{"name":"A","value":"2"}]}"#,
        )
        .unwrap();
        assert_eq!(container.env_value("A"), Some("2"));
    }
}
