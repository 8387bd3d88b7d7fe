//! The objects of the Kubernetes API that a patch adds, as serde writes them.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

use super::script;
use crate::k8s::quantity::Quantity;

/// A volume.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Volume<'a> {
    /// Its name, unique in the pod.
    pub name: Cow<'a, str>,
    /// Where its files come from.
    #[serde(flatten)]
    pub source: VolumeSource<'a>,
}

impl fmt::Display for Volume<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "volume {}: ", self.name)?;
        match &self.source {
            VolumeSource::HostPath(host) => write!(f, "hostPath {}", host.path),
            VolumeSource::EmptyDir(_) => f.write_str("emptyDir"),
            VolumeSource::PersistentVolumeClaim(_) => f.write_str("persistentVolumeClaim"),
            VolumeSource::Ephemeral(_) => f.write_str("ephemeral"),
            VolumeSource::DownwardApi(_) => f.write_str("downwardAPI"),
        }
    }
}

/// The source of a volume.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum VolumeSource<'a> {
    /// A path of the node.
    HostPath(HostPath<'a>),
    /// A directory that lives as long as the pod.
    EmptyDir(EmptyDir),
    /// A claim in the pod's namespace.
    PersistentVolumeClaim(ClaimName<'a>),
    /// A claim that lives as long as the pod.
    Ephemeral(EphemeralClaim),
    /// An annotation of the pod as a file.
    #[serde(rename = "downwardAPI")]
    DownwardApi(DownwardApi),
}

/// A path of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostPath<'a> {
    /// The path.
    pub path: Cow<'a, str>,
    /// What must exist there before the pod starts.
    #[serde(rename = "type")]
    pub kind: HostPathType,
}

/// What must exist at a path of the node. Never empty: the kubelet would create a directory where a
/// socket is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum HostPathType {
    /// A Unix socket.
    Socket,
    /// A directory, which the kubelet creates if need be.
    DirectoryOrCreate,
}

/// A directory that lives as long as the pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmptyDir {
    /// The size beyond which the kubelet evicts the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<Quantity>,
}

/// A claim in the pod's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimName<'a> {
    /// Its name.
    pub claim_name: Cow<'a, str>,
}

/// A claim that lives as long as the pod: `ReadWriteOnce`, of a class and a size.
#[derive(Debug, Clone, PartialEq)]
pub struct EphemeralClaim {
    /// The storage class; the cluster's default when absent.
    pub storage_class: Option<String>,
    /// The size.
    pub size: Quantity,
}

impl Serialize for EphemeralClaim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut spec = serde_json::json!({
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": self.size}},
        });
        if let (Some(class), Some(spec)) = (&self.storage_class, spec.as_object_mut()) {
            spec.insert("storageClassName".to_owned(), class.as_str().into());
        }
        serde_json::json!({"volumeClaimTemplate": {"spec": spec}}).serialize(serializer)
    }
}

/// Fields of the pod as files: here, one annotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DownwardApi {
    items: [DownwardItem; 1],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct DownwardItem {
    path: &'static str,
    field_ref: FieldRef,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct FieldRef {
    field_path: String,
}

impl<'a> VolumeSource<'a> {
    /// A directory that lives as long as the pod, of any size.
    #[must_use]
    pub fn empty_dir() -> Self {
        Self::EmptyDir(EmptyDir::default())
    }

    /// A socket of the node.
    #[must_use]
    pub fn host_socket(path: impl Into<Cow<'a, str>>) -> Self {
        let (path, kind) = (path.into(), HostPathType::Socket);
        Self::HostPath(HostPath { path, kind })
    }

    /// A directory of the node, which is created if need be.
    #[must_use]
    pub fn host_directory(path: impl Into<Cow<'a, str>>) -> Self {
        let (path, kind) = (path.into(), HostPathType::DirectoryOrCreate);
        Self::HostPath(HostPath { path, kind })
    }

    /// A claim in the pod's namespace.
    #[must_use]
    pub fn claim(name: impl Into<Cow<'a, str>>) -> Self {
        let claim_name = name.into();
        Self::PersistentVolumeClaim(ClaimName { claim_name })
    }

    /// The annotation `key` of the pod as the file `path`.
    #[must_use]
    pub fn annotation(key: &str, path: &'static str) -> Self {
        let field_path = format!("metadata.annotations['{key}']");
        let field_ref = FieldRef { field_path };
        let items = [DownwardItem { path, field_ref }];
        Self::DownwardApi(DownwardApi { items })
    }
}

/// A mount of a volume in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount<'a> {
    /// The volume's name.
    pub name: Cow<'a, str>,
    /// Where it is mounted.
    #[serde(rename = "mountPath")]
    pub path: Cow<'a, str>,
    /// The one file of the volume that is mounted, if not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<&'static str>,
    /// Whether the container may only read it.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only: bool,
}

impl<'a> VolumeMount<'a> {
    /// A whole volume, mounted on `path`.
    #[must_use]
    pub fn whole(name: impl Into<Cow<'a, str>>, path: impl Into<Cow<'a, str>>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            sub_path: None,
            read_only: false,
        }
    }

    /// One file of a volume, mounted on `path` to be read.
    #[must_use]
    pub fn file(
        name: impl Into<Cow<'a, str>>,
        path: impl Into<Cow<'a, str>>,
        file: &'static str,
    ) -> Self {
        Self {
            sub_path: Some(file),
            read_only: true,
            ..Self::whole(name, path)
        }
    }
}

/// A variable with a literal value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnvVar<'a> {
    /// The variable's name.
    pub name: Cow<'a, str>,
    /// Its value.
    pub value: Cow<'a, str>,
}

/// The words of a command line. A start script among them is copied in its encoded form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words<'a>(pub Vec<Cow<'a, str>>);

impl Words<'_> {
    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Words<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|word| script::Word(word)))
    }
}

/// A container to add.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewContainer<'a> {
    /// Whether it goes to `initContainers`: an init container or a native sidecar.
    #[serde(skip)]
    pub init: bool,
    /// Its name.
    pub name: &'static str,
    /// Its image.
    pub image: Cow<'a, str>,
    /// Its `command`; the image's entrypoint when empty.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub command: Words<'a>,
    /// Its `args`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Cow<'a, str>>,
    /// Its variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar<'a>>,
    /// Its requests and limits.
    #[serde(skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources<'a>,
    /// What it may do.
    pub security_context: SecurityContext,
    /// The command that succeeds once it serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Probe>,
    /// Its mounts.
    pub volume_mounts: Vec<VolumeMount<'a>>,
    /// `Always` for a native sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<&'static str>,
}

/// Requests and limits, by resource name.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Resources<'a> {
    /// What the scheduler reserves.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<Cow<'a, str>, Quantity>,
    /// What the kernel enforces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<Cow<'a, str>, Quantity>,
}

impl Resources<'_> {
    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }
}

/// What an added container may do. It always runs as root: the images that Slipway adds expect that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext {
    /// Whether it may do what root on the node may.
    #[serde(skip_serializing_if = "is_false")]
    pub privileged: bool,
    run_as_user: i64,
    run_as_non_root: bool,
}

impl SecurityContext {
    /// Root, confined to the container.
    pub const ROOT: Self = Self {
        privileged: false,
        run_as_user: 0,
        run_as_non_root: false,
    };
    /// Root without confinement.
    pub const PRIVILEGED: Self = Self {
        privileged: true,
        ..Self::ROOT
    };
}

impl Default for SecurityContext {
    fn default() -> Self {
        Self::ROOT
    }
}

/// A command that the kubelet runs every second until it succeeds, for two minutes at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    exec: Exec,
    period_seconds: u32,
    timeout_seconds: u32,
    failure_threshold: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Exec {
    command: Vec<String>,
}

impl Probe {
    /// Returns a probe with this command.
    #[must_use]
    pub fn exec<const N: usize>(command: [&str; N]) -> Self {
        Self {
            exec: Exec {
                command: command.map(str::to_owned).into(),
            },
            period_seconds: 1,
            timeout_seconds: 5,
            failure_threshold: 120,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
