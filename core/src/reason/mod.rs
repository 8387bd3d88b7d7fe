//! Why: one enum of reasons, each with a stable code and a sentence.
//!
//! The code is the metric label, the log field and the audit annotation. The sentence is what people
//! read in `slipway explain`, in API warnings and in Events. It talks about the pod ("it"); a note
//! starts with what it is about. Callers pass data, never words: the wording is all in this module.

mod details;

pub use details::{AddedDaemon, Clamp, PoolFailure};

use crate::{
    dockerd::{Setting, Settings},
    k8s::{namespace::PodSecurity, quantity::Quantity},
    nodes::{Restriction, RuntimeKind, RuntimeSummary},
};

/// Why a pod is left alone, what speaks for or against a strategy, or what was left out or changed
/// on the way. It is also the error of a strategy that is ruled out.
#[derive(
    Debug, Clone, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Reason {
    // Why a pod is left alone.
    /// The namespace is not labelled for injection.
    #[error("the namespace is not labelled slipway.io/inject=enabled")]
    NamespaceNotEnabled,
    /// The namespace is reserved for the cluster's own components.
    #[error("the namespace is reserved for the cluster's own components")]
    NamespaceProtected,
    /// The pod opts out.
    #[error("the pod opts out with slipway.io/inject")]
    PodOptedOut,
    /// No recogniser matches the pod.
    #[error("no recogniser in the policy matches the pod")]
    NotARunner,
    /// The pod is for Windows nodes.
    #[error("it is a Windows pod")]
    WindowsPod,
    /// The runner starts a separate pod for each job.
    #[error("each job runs in its own pod (container hooks), so this one builds nothing")]
    KubernetesMode,
    /// The profile or the pod asks for the strategy `none`.
    #[error("the profile or the pod asks for strategy none")]
    NothingAsked,
    /// The namespace selects a profile that is not in the policy.
    #[error("the namespace selects profile `{0}`, which is not in the policy")]
    ProfileUnknown(String),
    /// The namespace selects a profile that is reserved for other namespaces.
    #[error("the namespace selects profile `{0}`, which is reserved (selectable: false)")]
    ProfileNotSelectable(String),
    /// The candidate nodes differ, and `whenMixed` is `none`.
    #[error("the nodes that could run it differ, and whenMixed is none")]
    LeftBecauseMixed,
    /// No known node could run the pod, and `whenNoNodes` is `none`.
    #[error("no known node could run it, and whenNoNodes is none")]
    LeftBecauseNoNodes,
    /// Every strategy was ruled out.
    #[error("every strategy is ruled out")]
    NoStrategyLeft,
    /// The pod is larger than any runner pod.
    #[error(
        "it has more containers, volumes, variables or scheduling constraints than any runner pod"
    )]
    PodTooLarge,

    // For and against strategies.
    /// The pod has its own dockerd, so its jobs use the Docker API.
    #[error("the pod has its own dockerd, so its jobs use the Docker API")]
    PodBringsDockerd,
    /// dockerd runs in the runner container and cannot be removed.
    #[error("dockerd runs inside the runner container and cannot be removed")]
    DockerdInRunner,
    /// The pod's dockerd sidecar is removed.
    #[error("the host socket replaces the pod's dockerd (replaceDockerd)")]
    DockerdReplaced,
    /// The pod's dockerd cannot be taken out.
    #[error(
        "its dockerd stays: jobs or other containers depend on it in ways that no patch reaches (replaceDockerd)"
    )]
    DockerdNeeded,
    /// The pod has its own buildkitd.
    #[error("the pod has its own buildkitd, so its jobs build there")]
    PodBringsBuildkitd,
    /// A buildkitd is added without a host socket.
    #[error("buildkitd is added without a host socket (hostSockets: false)")]
    BuildkitdAlone,
    /// A dockerd sidecar is added.
    #[error("the pod has no dockerd, so one is added (dind.inject: ifMissing)")]
    DockerdAdded,
    /// The pod has no dockerd, and the profile adds none.
    #[error("the pod has no dockerd, and none is added (dind.inject: never)")]
    NoDockerd,
    /// A ResourceQuota would reject the pod with the container that would be added.
    #[error(
        "{container} is not added: a ResourceQuota requires {resource} on every container, and neither the profile nor a LimitRange sets it"
    )]
    QuotaDemands {
        /// What is not added.
        container: AddedDaemon,
        /// What the container would have to set, such as `limits.memory`.
        resource: String,
    },
    /// The profile asks for this strategy.
    #[error("the profile asks for it (strategy)")]
    ProfileAsks,
    /// The pod asks for this strategy.
    #[error("the pod asks for it (slipway.io/strategy)")]
    PodAsks,
    /// The pod asks for a strategy that the profile does not allow, or that does not exist.
    #[error("slipway.io/strategy asks for `{0}`, which the profile does not allow")]
    PodAskRefused(String),
    /// The profile does not allow host access.
    #[error("the profile does not allow host access (hostAccess: false)")]
    HostAccessOff,
    /// The profile gives no host sockets.
    #[error("the profile gives no host sockets (hostSockets: false)")]
    HostSocketsOff,
    /// The system is recognised by default, and the policy does not name it.
    #[error("pods of {0} get no host socket, because the policy does not name it (recognisers)")]
    SystemNotNamed(String),
    /// The namespace's Pod Security level forbids host access.
    #[error("the namespace enforces Pod Security level {0}")]
    PodSecurity(PodSecurity),
    /// The namespace is not known yet.
    #[error("the namespace is not known yet, so it gets no host access")]
    NamespaceUnknown,
    /// The pod's runtime class is a sandbox.
    #[error("runtime class `{0}` isolates the pod from the host")]
    RuntimeClass(String),
    /// The pod runs in a user namespace.
    #[error("files of the host are inaccessible in the pod's user namespace (hostUsers: false)")]
    UserNamespace,
    /// A candidate node allows no host access.
    #[error("a node that could run it allows no host access: {0}")]
    NodeRestricted(Restriction),
    /// All candidate nodes have the same runtime and socket.
    #[error("{} {kind} at {socket}", candidates_have(*.nodes))]
    NodesAgree {
        /// The runtime.
        kind: RuntimeKind,
        /// The path of its socket on the nodes.
        socket: String,
        /// The number of candidate nodes; 0 if only declared pools could run the pod.
        nodes: usize,
    },
    /// The candidate nodes have different runtimes or sockets.
    #[error("the nodes that could run it differ: {0}")]
    NodesDiffer(RuntimeSummary),
    /// No known node could run the pod.
    #[error("no known node could run it")]
    NoCandidates,
    /// The list of nodes has not arrived yet.
    #[error("the cluster's nodes are not known yet")]
    NodesNotSynced,
    /// The candidate nodes have another runtime than the strategy needs, or no usable socket.
    #[error("the nodes that could run it have {kind}{}", if *.lacks_socket { ", but no socket that pods can use" } else { "" })]
    OtherRuntime {
        /// Their runtime.
        kind: RuntimeKind,
        /// Whether it is the right one, but without a socket that pods can use.
        lacks_socket: bool,
    },
    /// The pod is pinned to nodes of one runtime.
    #[error("it is pinned to nodes with {key} in ({}) (whenMixed: pin)", .values.join(", "))]
    Pinned {
        /// The key of the node label.
        key: String,
        /// The values of the label that are allowed.
        values: Vec<String>,
    },

    // What was left out, or changed on the way.
    /// It cannot be told which container runs the pod's dockerd.
    #[error(
        "dockerd's settings: not set, it cannot be told which container runs dockerd; name it in slipway.io/dockerd-container"
    )]
    DockerdHidden,
    /// A client variable could break a docker client without buildx.
    #[error(
        "{0}: not set, the client may have no buildx; name it in buildkit.env to set it everywhere"
    )]
    BuildxUnknown(Setting),
    /// The kubelet would change the group of all files in the claim.
    #[error(
        "cache volume: the claim is left out, because the kubelet would change the group of every layer in it (fsGroup); set fsGroupChangePolicy: OnRootMismatch"
    )]
    FsGroup,
    /// The kubelet evicts the pod when its files exceed the limit.
    #[error(
        "cache volume: images and layers count towards the pod's ephemeral-storage limit of {0}, beyond which it is evicted"
    )]
    EphemeralStorageLimit(Quantity),
    /// The dockerd container has a CPU limit.
    #[error("limits.cpu: builds run within dockerd's limit of {0}; a low one slows them down")]
    CpuLimit(Quantity),
    /// The pod sets it itself, and its value stays.
    #[error("{0}: the pod's own value is kept")]
    PodSets(Setting),
    /// Part of dockerd's command line cannot be read, and might contradict these settings.
    #[error("{0}: not set, part of dockerd's command line is hidden by a script or a variable")]
    CommandUnreadable(Settings),
    /// A script starts dockerd, so the start wrapper cannot.
    #[error("{0}: not set, a script starts dockerd and leaves no room for the start wrapper")]
    StartedByScript(Settings),
    /// The pod brings a daemon.json, which flags might contradict.
    #[error("{0}: not set, it could contradict the pod's own daemon.json")]
    OwnDaemonConfig(Settings),
    /// The image may contain a daemon.json, or no shell.
    #[error(
        "{0}: not set, the image is not in dind.stockImages and may have a daemon.json or no shell"
    )]
    ImageNotStock(Settings),
    /// This dockerd is too old for the setting, or its version is unknown.
    #[error("{0}: not set, this dockerd is too old or of unknown version")]
    DockerTooOld(Setting),
    /// The setting applies only to a dockerd sidecar.
    #[error("{0}: not set, dockerd runs in the runner and not in a sidecar")]
    SidecarOnly(Setting),
    /// dockerd in the runner container uses only one mirror.
    #[error("dind.registryMirrors: dockerd in the runner uses only the first one")]
    OneMirrorOnly,
    /// dockerd runs rootless, with its files elsewhere.
    #[error("{0}: not set, dockerd runs rootless with its files in a home directory")]
    Rootless(Settings),
    /// The pod mounts something at this path, and its mount stays.
    #[error("{0}: the pod's own mount is kept")]
    MountTaken(String),
    /// The dockerd container is not privileged.
    #[error("{0}: left out, the dockerd container is not privileged")]
    NotPrivileged(Setting),
    /// Host paths are not allowed here.
    #[error("{0}: left out, host paths are not allowed here")]
    NoHostPath(Setting),
    /// Several pods could use the claim of this name at once.
    #[error(
        "claim `{0}`: if two runners mount it at once, the second dockerd fails; use ReadWriteOncePod (accessMode)"
    )]
    ClaimMayBeShared(String),
    /// An init container makes the directory at this mount path writable.
    #[error(
        "{0}: made writable by an init container, because it belongs to root and the runner may not be root"
    )]
    MadeWritable(String),
    /// The runner may be unable to write to the directory at this mount path.
    #[error(
        "{0}: belongs to root, and no image of the pod is known to have a shell that could make it writable"
    )]
    MayBeReadOnly(String),
    /// The pod sets resources for itself as a whole.
    #[error("resources: not set, the pod sets them for all of its containers")]
    PodLevelResources,
    /// A quantity of the profile was changed or left out, to be accepted.
    #[error("{0}")]
    Clamped(Box<Clamp>),
    /// The mirror at this URL does not respond.
    #[error("mirror {0}: left out, it does not respond")]
    MirrorDead(String),
    /// Only builders use the mirrors of these registries.
    #[error("mirrors of {}: only BuildKit builders use them, dockerd itself mirrors Docker Hub only", .0.join(", "))]
    MirrorsForBuilders(Vec<String>),
    /// The startup probe of dockerd runs more often than the pod says.
    #[error(
        "startup probe of dockerd: every second instead of every {period} s, for {total} s as before, so that the runner starts sooner (dind.startupProbe)"
    )]
    StartupProbeFaster {
        /// The seconds between two probes that the pod sets.
        period: u32,
        /// The seconds after which the probe has failed.
        total: u32,
    },
    /// The annotation of this key does not fit into the pod.
    #[error("{0}: not set, the pod's annotations would exceed 256 KiB")]
    AnnotationsFull(&'static str),
    /// The pod leases a claim of the pool.
    #[error("claim `{claim}` of the pool, {} layers of this cache key", if *.warm { "with" } else { "without" })]
    ClaimLeased {
        /// The claim's name.
        claim: String,
        /// Whether the claim's previous pod had the same cache key.
        warm: bool,
    },
    /// Claims are leased only when a pod is created, and this is a dry run.
    #[error("a claim of the pool is leased only when the pod is created; this shows the fallback")]
    ClaimAtAdmission,
    /// The pool has no free claim that the pod could use.
    #[error("the pool has no free claim for this pod, so it gets the fallback")]
    PoolExhausted,
    /// Leasing a claim of the pool failed.
    #[error("no claim could be leased, so the pod gets the fallback: {0}")]
    PoolUnavailable(PoolFailure),
    /// The runner has no work volume that an added dockerd could share.
    #[error(
        "added dockerd: the runner has no emptyDir to share, so bind mounts of its files are empty"
    )]
    NothingToShare,
}

impl Reason {
    /// Returns the stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.into()
    }

    /// Returns whether the owner of the pod or namespace can do something about it. Such reasons
    /// become API warnings.
    #[must_use]
    pub fn is_actionable(&self) -> bool {
        matches!(
            self,
            Self::ProfileUnknown(_)
                | Self::ProfileNotSelectable(_)
                | Self::PodAskRefused(_)
                | Self::CommandUnreadable(_)
                | Self::ClaimMayBeShared(_)
                | Self::FsGroup
                | Self::AnnotationsFull(_)
                | Self::DockerTooOld(_)
                | Self::QuotaDemands { .. }
        )
    }
}

/// Returns the beginning of a sentence about the candidate nodes.
fn candidates_have(nodes: usize) -> String {
    match nodes {
        0 => "the declared pools that could run it have".to_owned(),
        1 => "the only node that could run it has".to_owned(),
        nodes => format!("all {nodes} nodes that could run it have"),
    }
}
