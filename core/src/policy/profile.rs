//! A profile: what is done to the runner pods of the namespaces that select it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    cache::{BuildkitdCache, CacheKeySource, DockerdCache, LocalCache, NodeSlots},
    values::{Glob, HubMirror, ImageRef, MirrorUrl, Mtu, RegistryHost, SocketPath},
};
use crate::k8s::{
    limits::{LimitRangeItem, LimitType},
    quantity::Quantity,
};

/// Settings by name; a namespace selects one profile. A key that is left out has the built-in
/// default's value.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a key of the policy file"
)]
pub struct Profile {
    /// The build path to prepare: `auto` takes the fastest safe one.
    pub strategy: StrategyChoice,
    /// What to do when the nodes that could run the pod differ in runtime or socket.
    pub when_mixed: WhenMixed,
    /// What to do when no known node could run the pod, as with a pool scaled to zero.
    pub when_no_nodes: WhenNoNodes,
    /// Whether host sockets, hostPath volumes and privileged containers may be injected at all.
    pub host_access: bool,
    /// Whether host sockets may be injected; `false` keeps node slots.
    pub host_sockets: bool,
    /// Whether a namespace may select this profile with the label `slipway.io/profile`; `false`
    /// keeps it for the namespaces that the policy file lists.
    pub selectable: bool,
    /// Whether a dockerd sidecar is taken out when a host socket serves in its place.
    pub replace_dockerd: bool,
    /// Whether values that a pod sets may be replaced.
    pub overwrite: Overwrite,
    /// The strategy `containerd`.
    pub containerd: Containerd,
    /// The strategy `docker-socket`.
    pub docker_socket: DockerSocket,
    /// The strategy `dind`.
    pub dind: Dind,
    /// The build client's environment and cache.
    pub buildkit: Buildkit,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            strategy: StrategyChoice::Auto,
            when_mixed: WhenMixed::Dind,
            when_no_nodes: WhenNoNodes::Dind,
            host_access: true,
            host_sockets: true,
            selectable: true,
            replace_dockerd: false,
            overwrite: Overwrite::Never,
            containerd: Containerd::default(),
            docker_socket: DockerSocket::default(),
            dind: Dind::default(),
            buildkit: Buildkit::default(),
        }
    }
}

/// What a profile asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyChoice {
    /// The fastest safe path for each pod.
    Auto,
    /// The node's containerd socket.
    Containerd,
    /// The node's Docker Engine socket.
    DockerSocket,
    /// Docker-in-Docker, optimised.
    Dind,
    /// Leave pods alone.
    None,
}

/// What to do when candidate nodes disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenMixed {
    /// No host socket: Docker-in-Docker.
    Dind,
    /// Tie the pod to the nodes with the wanted runtime, if a label tells them apart.
    Pin,
    /// Leave the pod alone.
    None,
}

/// What to do when there is no candidate node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenNoNodes {
    /// No host socket: Docker-in-Docker.
    Dind,
    /// Leave the pod alone.
    None,
}

/// Which values of a pod may be replaced.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Overwrite {
    /// None: what the pod sets stands.
    Never,
    /// The resources of the dockerd container.
    DockerdResources,
    /// Resources, environment variables and dockerd flags that the profile sets.
    All,
}

/// The node's containerd socket.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Containerd {
    /// The socket on the node: `auto` or an absolute path.
    pub socket_path: SocketPath,
    /// `CONTAINERD_NAMESPACE`. Never the kubelet's own `k8s.io`.
    pub namespace: String,
    /// Groups added to the pod, so that a non-root runner may open the socket (root:root 0660).
    pub supplemental_groups: Vec<i64>,
    /// A buildkitd sidecar as the way to build; `null` for none, `{}` for one with defaults.
    pub buildkitd: Option<Buildkitd>,
}

impl Default for Containerd {
    fn default() -> Self {
        Self {
            socket_path: SocketPath::Auto,
            namespace: "ci".to_owned(),
            supplemental_groups: vec![0],
            buildkitd: None,
        }
    }
}

impl Containerd {
    /// Returns what the cache of the buildkitd sidecar is shared by, and the label to read the key from; `None` for
    /// caches that are not shared by key.
    #[must_use]
    pub fn cache_key<'p>(&'p self, dind: &'p Dind) -> Option<(CacheKeySource, Option<&'p str>)> {
        match &self.buildkitd.as_ref()?.cache {
            BuildkitdCache::NodeSlots(slots) => Some(slots.key()),
            BuildkitdCache::Pool(_) => dind.cache.key(),
            _ => None,
        }
    }
}

/// The buildkitd sidecar of the strategy `containerd`: its own OCI worker and cache.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Buildkitd {
    /// Its image.
    pub image: ImageRef,
    /// Its resources.
    pub resources: ResourceSettings,
    /// What holds its state. Beside a dockerd, it is an `emptyDir` in place of node slots or a claim of the pool.
    pub cache: BuildkitdCache,
}

impl Default for Buildkitd {
    fn default() -> Self {
        Self {
            image: ImageRef::built_in("moby/buildkit:buildx-stable-1"),
            resources: ResourceSettings::small_requests(),
            cache: BuildkitdCache::NodeSlots(NodeSlots::default()),
        }
    }
}

/// The node's Docker Engine socket.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DockerSocket {
    /// The socket on the node: `auto` or an absolute path.
    pub socket_path: SocketPath,
    /// Groups added to the pod, so that a non-root runner may open the socket. The group of
    /// `docker.sock` differs from distribution to distribution.
    pub supplemental_groups: Vec<i64>,
}

/// Docker-in-Docker.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dind {
    /// Pull-through mirrors of Docker Hub, tried in order.
    pub registry_mirrors: Vec<HubMirror>,
    /// Pull-through mirrors of any registry, by its host, tried in order. Only BuildKit uses them: the builders that
    /// jobs create, and the buildkitd sidecar. dockerd itself mirrors Docker Hub only, by `registryMirrors`.
    pub mirrors: BTreeMap<RegistryHost, Vec<MirrorUrl>>,
    /// The MTU of the networks that dockerd makes; `null` leaves dockerd's 1500.
    pub mtu: Option<Mtu>,
    /// The storage driver; `null` lets dockerd choose. A pinned `overlay2` makes dockerd exit
    /// where its data-root is itself an overlay.
    pub storage_driver: Option<String>,
    /// Options of the default log driver, `json-file`.
    pub log_opts: BTreeMap<String, String>,
    /// Further keys of daemon.json.
    pub daemon_config: BTreeMap<String, Value>,
    /// Resources of the dockerd container. A CPU limit throttles the builds inside it.
    pub resources: ResourceSettings,
    /// Variables of the dockerd container.
    pub env: BTreeMap<String, String>,
    /// The image that replaces a stock `docker:dind`; also that of an added sidecar.
    pub image: Option<ImageRef>,
    /// Images that hold no daemon.json of their own and may be given dockerd flags.
    pub stock_images: Vec<Glob>,
    /// Whether a runner pod without dockerd gets one.
    pub inject: InjectDind,
    /// Seconds that a runner waits for dockerd, where its image knows such a variable.
    pub wait_seconds: u32,
    /// What becomes of a startup probe on the dockerd sidecar, for which the runner waits.
    pub startup_probe: StartupProbe,
    /// Whether the start wrapper starts containerd before dockerd. Some versions of dockerd, 26.1 among
    /// them, wait a second for a containerd that they start themselves.
    pub start_containerd: bool,
    /// Whether the builders that jobs create (`docker buildx create`, `setup-buildx-action`) get the mirrors,
    /// and the state that earlier builders left, where the data-root outlives the pod.
    pub keep_builders: bool,
    /// What is on dockerd's data-root.
    pub cache: DockerdCache,
}

impl Default for Dind {
    fn default() -> Self {
        let opts = [("max-size", "10m"), ("max-file", "3")];
        Self {
            registry_mirrors: vec![HubMirror::built_in("https://mirror.gcr.io")],
            mirrors: BTreeMap::new(),
            mtu: None,
            storage_driver: None,
            log_opts: opts.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            daemon_config: BTreeMap::new(),
            resources: ResourceSettings::small_requests(),
            env: BTreeMap::new(),
            image: None,
            stock_images: vec![Glob::new("docker:*dind*"), Glob::new("*/docker:*dind*")],
            inject: InjectDind::Never,
            wait_seconds: 120,
            startup_probe: StartupProbe::Fast,
            start_containerd: false,
            keep_builders: true,
            cache: DockerdCache::NodeSlots(NodeSlots::default()),
        }
    }
}

impl Dind {
    /// Returns whether the image is known to hold docker's programs and no daemon.json.
    #[must_use]
    pub fn is_stock(&self, image: &str) -> bool {
        let own = self.image.as_ref().is_some_and(|own| own.as_str() == image);
        own || self.stock_images.iter().any(|glob| glob.matches(image))
    }

    /// Iterates over the mirrors of all registries.
    pub fn all_mirrors(&self) -> impl Iterator<Item = &MirrorUrl> {
        let hub = self.registry_mirrors.iter().map(HubMirror::url);
        hub.chain(self.mirrors.values().flatten())
    }
}

/// Whether a dockerd is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum InjectDind {
    /// Never.
    Never,
    /// To a runner pod that has none: a privileged sidecar.
    IfMissing,
}

/// What becomes of a startup probe on the dockerd sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StartupProbe {
    /// It runs every second, for as long as before. Only ARC's own values are replaced, unless `overwrite` is `all`.
    Fast,
    /// It stays.
    Keep,
}

/// Requests and limits, by resource name.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ResourceSettings {
    /// What the scheduler reserves.
    pub requests: BTreeMap<String, Quantity>,
    /// What the kernel enforces.
    pub limits: BTreeMap<String, Quantity>,
}

impl ResourceSettings {
    /// Returns a resource that a ResourceQuota demands of every container and that a container with these settings would
    /// lack, for which the API server would reject the pod. The defaults of LimitRanges count, and a limit is also a
    /// request. Quotas demand only `cpu` and `memory` (<https://kubernetes.io/docs/concepts/policy/resource-quotas/>).
    pub(crate) fn missing_for_quota<'q>(
        &self,
        quotas: &'q BTreeSet<String>,
        limits: &[LimitRangeItem],
    ) -> Option<&'q str> {
        let of_containers = || {
            limits
                .iter()
                .filter(|item| item.limit_type == LimitType::Container)
        };
        let has_limit = |name: &str| {
            let is_filled_in = |item: &LimitRangeItem| {
                item.default.contains_key(name) || item.max.contains_key(name)
            };
            self.limits.contains_key(name) || of_containers().any(is_filled_in)
        };
        let has_request = |name: &str| {
            let is_filled_in = |item: &LimitRangeItem| item.default_request.contains_key(name);
            self.requests.contains_key(name) || of_containers().any(is_filled_in)
        };
        let is_missing = |key: &&String| match key.split_once('.') {
            Some(("limits", name @ ("cpu" | "memory"))) => !has_limit(name),
            Some(("requests", name @ ("cpu" | "memory"))) => !has_request(name) && !has_limit(name),
            _ => false,
        };
        quotas.iter().find(is_missing).map(String::as_str)
    }

    /// Returns requests of 100m CPU and 256Mi memory, without limits.
    fn small_requests() -> Self {
        let requests = [("cpu", "100m"), ("memory", "256Mi")];
        Self {
            requests: requests
                .into_iter()
                .filter_map(|(k, v)| Some((k.to_owned(), v.parse().ok()?)))
                .collect(),
            limits: BTreeMap::new(),
        }
    }
}

/// The build client.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Buildkit {
    /// Variables of the runner container: the docker client reads them, dockerd does not. By default,
    /// `DOCKER_BUILDKIT` is left out where the client may have no buildx.
    #[schemars(with = "BTreeMap<String, String>")]
    pub env: ClientEnv,
    /// A directory for `--cache-to`/`--cache-from type=local` on the runner container.
    pub local_cache: LocalCache,
    /// Garbage collection of dockerd's builder.
    pub gc: BuilderGc,
}

impl Default for Buildkit {
    fn default() -> Self {
        Self {
            env: ClientEnv::default(),
            local_cache: LocalCache::None {},
            gc: BuilderGc::default(),
        }
    }
}

/// Variables of the containers in which jobs run.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct ClientEnv {
    variables: BTreeMap<String, String>,
    /// Whether the policy names them, rather than the built-in default.
    #[serde(skip)]
    is_named: bool,
}

impl ClientEnv {
    /// Returns the variables.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// Returns whether the policy names the variables.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.is_named
    }
}

impl Default for ClientEnv {
    fn default() -> Self {
        let env = [("DOCKER_BUILDKIT", "1"), ("BUILDKIT_PROGRESS", "plain")];
        Self {
            variables: env.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            is_named: false,
        }
    }
}

impl<'de> Deserialize<'de> for ClientEnv {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self {
            variables: BTreeMap::deserialize(deserializer)?,
            is_named: true,
        })
    }
}

/// `builder.gc` of daemon.json.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BuilderGc {
    /// The size that the build cache is pruned to, such as `20GB`; `null` leaves dockerd's rule.
    pub keep_storage: Option<String>,
}
