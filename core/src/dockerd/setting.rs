//! What a profile may set of a pod and its dockerd, by the names that dockerd and people know.

use std::fmt;

use crate::k8s::resource_field::ResourceField;

/// Something that a profile sets, or a pod sets itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    // Flags of dockerd.
    /// The mirrors of Docker Hub.
    RegistryMirrors,
    /// Registries that are reached without TLS.
    InsecureRegistries,
    /// The MTU of dockerd's default bridge, as a number.
    Mtu,
    /// The MTU of the networks that jobs create.
    NetworkMtu,
    /// The storage driver.
    StorageDriver,
    /// Options of the log driver.
    LogOpts,
    /// dockerd's data-root.
    DataRoot,
    /// The socket of the containerd that dockerd uses.
    Containerd,

    // daemon.json.
    /// One key of it, which is not a flag.
    DaemonKey(String),
    /// The file as a whole.
    DaemonJson,

    // What the start wrapper does.
    /// The MTU of the pod's interface, read when dockerd starts.
    AutoMtu,
    /// A data-root in a directory of the node.
    NodeSlots,
    /// A containerd that is started before dockerd.
    StartContainerd,
    /// What is kept of a claim beside images and build cache: nothing.
    KeptClaim,
    /// Mirrors and kept state for the builders that jobs create.
    KeepBuilders,
    /// Mirrors of registries other than Docker Hub, which only builders use.
    Mirrors,

    // The container of dockerd.
    /// All settings of dockerd.
    All,
    /// Its image.
    Image,
    /// Its requests and limits.
    Resources,
    /// Its variables.
    Env,
    /// Its startup probe.
    StartupProbe,
    /// The volume on its data-root.
    CacheVolume,

    // Other parts of the pod.
    /// A request or a limit.
    Resource(ResourceField),
    /// A variable.
    Variable(String),
    /// An annotation.
    Annotation(&'static str),
    /// A label.
    Label(&'static str),
    /// The client's BuildKit cache, on this path of the node.
    BuildkitCache(String),
}

impl Setting {
    /// Returns dockerd's flag, without dashes; `None` for what is not a flag.
    #[must_use]
    pub fn flag(&self) -> Option<&'static str> {
        Some(match self {
            Self::RegistryMirrors => "registry-mirror",
            Self::InsecureRegistries => "insecure-registry",
            Self::Mtu => "mtu",
            Self::NetworkMtu => "default-network-opt",
            Self::StorageDriver => "storage-driver",
            Self::LogOpts => "log-opt",
            Self::DataRoot => "data-root",
            Self::Containerd => "containerd",
            _ => return None,
        })
    }

    /// Returns the key of daemon.json; `None` for what daemon.json cannot set.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::RegistryMirrors => Some("registry-mirrors"),
            Self::InsecureRegistries => Some("insecure-registries"),
            Self::NetworkMtu => Some("default-network-opts"),
            Self::LogOpts => Some("log-opts"),
            Self::DaemonKey(key) => Some(key),
            _ => self.flag(),
        }
    }
}

/// Prints the name that people know.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetworkMtu => f.write_str("mtu of the networks that jobs create"),
            Self::DaemonJson => f.write_str("daemon.json"),
            Self::AutoMtu => f.write_str("mtu: auto"),
            Self::NodeSlots => f.write_str("node slots"),
            Self::StartContainerd => f.write_str("startContainerd"),
            Self::KeptClaim => f.write_str("cleaning of the claim"),
            Self::KeepBuilders => f.write_str("keepBuilders"),
            Self::Mirrors => f.write_str("dind.mirrors"),
            Self::All => f.write_str("dockerd's settings"),
            Self::Image => f.write_str("dind.image"),
            Self::Resources => f.write_str("dind.resources"),
            Self::Env => f.write_str("dind.env"),
            Self::StartupProbe => f.write_str("startup probe of dockerd"),
            Self::CacheVolume => f.write_str("cache volume"),
            Self::Resource(field) => field.fmt(f),
            Self::Variable(name) => f.write_str(name),
            Self::Annotation(key) | Self::Label(key) => f.write_str(key),
            Self::BuildkitCache(path) => write!(f, "BuildKit cache {path}"),
            setting => f.write_str(setting.key().unwrap_or_default()),
        }
    }
}

/// Settings that share one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings(pub Vec<Setting>);

impl From<Setting> for Settings {
    fn from(setting: Setting) -> Self {
        Self(vec![setting])
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, setting) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            setting.fmt(f)?;
        }
        Ok(())
    }
}
