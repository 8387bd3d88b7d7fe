//! Why: one enum of reasons, each with a stable code and a sentence.
//!
//! The code is the metric label, the log field and the audit annotation; the sentence is what
//! people read in `slipway explain` and in API warnings. Nothing else in the crate makes up words
//! for a decision.

use std::fmt;

use crate::{
    dockerd::{Setting, Settings},
    k8s::namespace::PodSecurity,
    nodes::{Restriction, RuntimeKind},
};

/// A reason for or against something.
#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Reason {
    // Why a pod is left alone.
    /// The namespace is not labelled.
    NamespaceNotEnabled,
    /// The namespace is the cluster's own.
    NamespaceProtected,
    /// The pod opts out.
    PodOptedOut,
    /// No CI system was recognised.
    NotARunner,
    /// It runs on Windows.
    WindowsPod,
    /// Its jobs run in pods of their own.
    KubernetesMode,
    /// The profile, or the pod, asks for no strategy.
    NothingAsked,
    /// The namespace selects a profile that the policy does not have.
    ProfileUnknown(String),
    /// The namespace selects a profile that the policy keeps for others.
    ProfileNotSelectable(String),
    /// Nodes differ, and the profile leaves such pods alone.
    LeftBecauseMixed,
    /// No node is known, and the profile leaves such pods alone.
    LeftBecauseNoNodes,
    /// Each strategy was ruled out.
    NoStrategyLeft,
    /// It has more containers, variables, mounts, volumes or placement constraints than any runner pod.
    PodTooLarge,

    // For and against strategies.
    /// The pod has a dockerd: its jobs speak the Docker API.
    PodBringsDockerd,
    /// dockerd runs in the runner container and cannot be taken out.
    DockerdInRunner,
    /// A dockerd sidecar is taken out.
    DockerdReplaced,
    /// A dockerd sidecar is added.
    DockerdAdded,
    /// The pod has no dockerd, and the profile adds none.
    NoDockerd,
    /// A quota would refuse the pod with a container that says too little of its resources.
    QuotaDemands {
        /// What is not added.
        container: &'static str,
        /// What it would have to say, such as `limits.memory`.
        resource: String,
    },
    /// The profile asks for this strategy.
    ProfileAsks,
    /// The pod asks for this strategy.
    PodAsks,
    /// The pod asks for a strategy that the profile does not allow, or that does not exist.
    PodAskRefused(String),
    /// The profile gives no host access.
    HostAccessOff,
    /// The namespace's Pod Security level forbids host access.
    PodSecurity(PodSecurity),
    /// Nothing is known of the namespace.
    NamespaceUnknown,
    /// The pod's runtime class is a sandbox.
    RuntimeClass(String),
    /// The pod runs in a user namespace of its own.
    UserNamespace,
    /// A candidate node gives no host access.
    NodeRestricted(Restriction),
    /// The candidates agree.
    NodesAgree {
        /// On this runtime.
        kind: RuntimeKind,
        /// At this socket.
        socket: String,
        /// So many of them.
        nodes: usize,
    },
    /// The candidates differ.
    NodesDiffer(String),
    /// No known node could run the pod.
    NoCandidates,
    /// The node list is not known yet.
    NodesNotSynced,
    /// The candidates run something else.
    OtherRuntime(RuntimeKind),
    /// The pod is tied to nodes of one runtime.
    Pinned {
        /// By this label.
        key: String,
        /// And these values.
        values: String,
    },

    // What was not injected, or changed on the way.
    /// The pod sets it itself.
    PodSets(Setting),
    /// Part of dockerd's command line is not known: what it sets could be contradicted.
    CommandUnreadable(Settings),
    /// A script starts dockerd, and nothing can stand between the two.
    StartedByScript(Settings),
    /// The pod brings its own daemon.json, so that a flag could contradict it.
    OwnDaemonConfig(Settings),
    /// The image may hold its own daemon.json, or no shell.
    ImageNotStock(Settings),
    /// This dockerd is too old for the setting.
    DockerTooOld(Setting),
    /// The setting is for a dockerd sidecar.
    SidecarOnly(Setting),
    /// dockerd in the runner takes one mirror.
    OneMirrorOnly,
    /// dockerd runs rootless: its files are elsewhere.
    Rootless(Settings),
    /// The container's file system is mounted there already.
    MountTaken(String),
    /// Host paths may not be used here.
    NoHostPath(Setting),
    /// A claim that several pods could use at once.
    ClaimMayBeShared(String),
    /// An init container lets the runner write there.
    MadeWritable(String),
    /// The runner may be unable to write there.
    MayBeReadOnly(String),
    /// The pod has resources of its own as a whole.
    PodLevelResources,
    /// A LimitRange or the container's own values changed a resource.
    Clamped(String),
    /// A mirror does not answer.
    MirrorDead(String),
    /// The pod's annotations are full.
    AnnotationsFull(String),
    /// The pod has a claim of the pool.
    ClaimLeased {
        /// The claim.
        claim: String,
        /// Whether its last pod had the same cache key.
        warm: bool,
    },
    /// Nobody asked the pool: no pod is created.
    ClaimAtAdmission,
    /// The pool has no free claim that the pod could use.
    PoolExhausted,
    /// The pool could not be asked.
    PoolUnavailable(&'static str),
    /// The working directory cannot be shared with an added dockerd.
    NothingToShare,
}

impl Reason {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.into()
    }

    /// Returns whether the owner of the pod or namespace could fix it. Such reasons become API warnings.
    #[must_use]
    pub fn is_actionable(&self) -> bool {
        matches!(
            self,
            Self::ProfileUnknown(_)
                | Self::ProfileNotSelectable(_)
                | Self::PodAskRefused(_)
                | Self::CommandUnreadable(_)
                | Self::ClaimMayBeShared(_)
                | Self::AnnotationsFull(_)
                | Self::DockerTooOld(_)
                | Self::QuotaDemands { .. }
        )
    }
}

impl fmt::Display for Reason {
    #[allow(
        clippy::too_many_lines,
        reason = "one line for each reason is the point"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NamespaceNotEnabled => {
                f.write_str("the namespace is not labelled slipway.io/inject=enabled")
            }
            Self::NamespaceProtected => f.write_str("the namespace belongs to the cluster itself"),
            Self::PodOptedOut => f.write_str("the pod opts out with slipway.io/inject: \"false\""),
            Self::NotARunner => f.write_str("it is not a runner pod of a CI system in the policy"),
            Self::WindowsPod => f.write_str("it is a Windows pod"),
            Self::KubernetesMode => {
                f.write_str("its jobs run in pods of their own (container hooks), so it builds nothing")
            }
            Self::NothingAsked => f.write_str("strategy none is asked for"),
            Self::ProfileUnknown(name) => {
                write!(f, "the namespace selects profile `{name}`, which the policy does not have")
            }
            Self::ProfileNotSelectable(name) => write!(
                f,
                "the namespace selects profile `{name}`, which the policy keeps for namespaces that it names"
            ),
            Self::LeftBecauseMixed => {
                f.write_str("its candidate nodes differ, and whenMixed is none")
            }
            Self::LeftBecauseNoNodes => {
                f.write_str("no known node could run it, and whenNoNodes is none")
            }
            Self::NoStrategyLeft => f.write_str("every strategy is ruled out"),
            Self::PodTooLarge => f.write_str(
                "it has more containers, volumes, variables, placement constraints or anything else than a runner pod ever has",
            ),
            Self::PodBringsDockerd => {
                f.write_str("the pod brings a dockerd, and its jobs speak the Docker API")
            }
            Self::DockerdInRunner => {
                f.write_str("dockerd runs inside the runner container and cannot be taken out")
            }
            Self::DockerdReplaced => {
                f.write_str("the host socket takes the place of the pod's dockerd (replaceDockerd)")
            }
            Self::DockerdAdded => {
                f.write_str("the pod has no dockerd and gets one (dind.inject: ifMissing)")
            }
            Self::NoDockerd => {
                f.write_str("the pod has no dockerd, and the profile adds none (dind.inject: never)")
            }
            Self::QuotaDemands {
                container,
                resource,
            } => write!(
                f,
                "{container} is not added: a ResourceQuota demands {resource} of every container, and neither the profile nor a LimitRange says it"
            ),
            Self::ProfileAsks => f.write_str("the profile asks for it"),
            Self::PodAsks => f.write_str("the pod asks for it with slipway.io/strategy"),
            Self::PodAskRefused(asked) => write!(
                f,
                "slipway.io/strategy asks for `{asked}`, which the profile does not allow"
            ),
            Self::HostAccessOff => f.write_str("the profile gives no host access"),
            Self::PodSecurity(level) => {
                write!(f, "the namespace enforces Pod Security level {level}")
            }
            Self::NamespaceUnknown => {
                f.write_str("nothing is known of the namespace yet, so it gets no host access")
            }
            Self::RuntimeClass(class) => {
                write!(f, "runtime class `{class}` keeps the pod from the host")
            }
            Self::UserNamespace => {
                f.write_str("the pod runs in a user namespace (hostUsers: false), to which host files belong to nobody")
            }
            Self::NodeRestricted(restriction) => {
                write!(f, "a node that could run it gives no host access: {restriction}")
            }
            Self::NodesAgree {
                kind,
                socket,
                nodes: 0,
            } => write!(f, "the declared pools that could run it have {kind} at {socket}"),
            Self::NodesAgree {
                kind,
                socket,
                nodes: 1,
            } => write!(f, "the one node that could run it has {kind} at {socket}"),
            Self::NodesAgree {
                kind,
                socket,
                nodes,
            } => write!(f, "all {nodes} nodes that could run it have {kind} at {socket}"),
            Self::NodesDiffer(summary) => {
                write!(f, "the nodes that could run it differ: {summary}")
            }
            Self::NoCandidates => f.write_str("no known node could run it"),
            Self::NodesNotSynced => f.write_str("the cluster's nodes are not known yet"),
            Self::OtherRuntime(kind) => write!(f, "the nodes that could run it have {kind}"),
            Self::Pinned { key, values } => {
                write!(f, "it is tied to nodes with {key} in ({values}) (whenMixed: pin)")
            }
            Self::PodSets(what) => write!(f, "{what}: kept as the pod sets it"),
            Self::CommandUnreadable(what) => write!(
                f,
                "{what}: part of dockerd's command line is not known (a script, or an argument from a variable)"
            ),
            Self::StartedByScript(what) => write!(
                f,
                "{what}: the pod starts dockerd by a script, and the start wrapper cannot stand inside it"
            ),
            Self::OwnDaemonConfig(what) => write!(
                f,
                "{what}: the pod brings its own daemon configuration, and dockerd refuses contradictions"
            ),
            Self::ImageNotStock(what) => write!(
                f,
                "{what}: the dockerd image is not listed in dind.stockImages; it may hold its own daemon.json, or no shell"
            ),
            Self::DockerTooOld(what) => write!(f, "{what}: this dockerd does not know it"),
            Self::SidecarOnly(what) => {
                write!(f, "{what}: applies to a dockerd sidecar, and dockerd runs in the runner")
            }
            Self::OneMirrorOnly => {
                f.write_str("registry mirrors: dockerd in the runner takes the first one only")
            }
            Self::Rootless(what) => {
                write!(f, "{what}: dockerd runs rootless, with its files in a home directory")
            }
            Self::MountTaken(path) => write!(f, "{path}: kept, the pod mounts a volume there"),
            Self::NoHostPath(what) => write!(f, "{what}: host paths are not admissible here"),
            Self::ClaimMayBeShared(claim) => write!(
                f,
                "claim `{claim}`: two runners on it at once would break the second one's dockerd; use ReadWriteOncePod"
            ),
            Self::MadeWritable(path) => write!(
                f,
                "{path}: an init container opens it, because the kubelet makes it root's and the runner is not root"
            ),
            Self::MayBeReadOnly(path) => write!(
                f,
                "{path}: a runner that is not root may be unable to write there, and no image is at hand to change that"
            ),
            Self::PodLevelResources => f.write_str(
                "resources: the pod sets them as a whole, and containers must stay within them",
            ),
            Self::Clamped(what) => write!(f, "{what}"),
            Self::MirrorDead(mirror) => write!(f, "mirror {mirror}: left out, it does not answer"),
            Self::AnnotationsFull(what) => {
                write!(f, "{what}: the pod's annotations have no room left (256 KiB)")
            }
            Self::ClaimLeased { claim, warm: true } => {
                write!(f, "claim `{claim}` of the pool, with the layers of this cache key")
            }
            Self::ClaimLeased { claim, warm: false } => {
                write!(f, "claim `{claim}` of the pool, without layers of this cache key yet")
            }
            Self::ClaimAtAdmission => f.write_str(
                "a claim of the pool is leased when the pod is created, and not before; shown is the fallback",
            ),
            Self::PoolExhausted => f.write_str(
                "the pool has no free claim that this pod could use, so it gets the fallback",
            ),
            Self::PoolUnavailable(why) => {
                write!(f, "no claim of the pool could be leased, so the pod gets the fallback: {why}")
            }
            Self::NothingToShare => f.write_str(
                "added dockerd: the runner has no work volume, so bind mounts of its files stay empty",
            ),
        }
    }
}
