//! `decide(pod, cluster) -> Decision`: which build path a pod gets, and why. Pure.

mod choice;

use std::{collections::BTreeSet, fmt};

use choice::Choice;

use crate::{
    cache::claims::{LeaseResult, Pools},
    k8s::{
        limits::LimitRangeItem,
        namespace::{INJECT, Namespace, Namespaces},
    },
    nodes::{Pin, Snapshot},
    pod::{ContainerRef, Pod},
    policy::{DEFAULT_PROFILE, Policy, Profile},
    reason::Reason,
    recognise::{RunnerPod, recognise},
};

/// Annotation by which a pod asks for a strategy that its profile allows.
pub const STRATEGY: &str = "slipway.io/strategy";

/// A build path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// The node's containerd socket.
    Containerd,
    /// The node's Docker Engine socket.
    DockerSocket,
    /// Docker-in-Docker.
    Dind,
    /// Nothing.
    None,
}

impl Strategy {
    /// Its name, as in the policy file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::DockerSocket => "docker-socket",
            Self::Dind => "dind",
            Self::None => "none",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Containerd, Self::DockerSocket, Self::Dind, Self::None]
            .into_iter()
            .find(|strategy| strategy.as_str() == name)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of the cluster, all of it immutable.
#[derive(Debug, Clone, Copy)]
pub struct Cluster<'c> {
    /// The nodes; `None` before the first list arrived.
    pub nodes: Option<&'c Snapshot>,
    /// The namespaces.
    pub namespaces: &'c Namespaces,
    /// The policy.
    pub policy: &'c Policy,
    /// Registry mirrors that did not answer when they were last probed.
    pub dead_mirrors: &'c [String],
    /// The pools of claims, and what came of asking one of them.
    pub pools: Pools<'c>,
}

/// A decision: what is done with a pod, and the reasons.
#[derive(Debug, Clone)]
pub struct Decision<'a> {
    /// The CI system, when one was recognised.
    pub system: Option<&'a str>,
    /// The profile's name, when one was selected.
    pub profile: Option<&'a str>,
    /// For the chosen strategy and against each better one, in the order of consideration.
    pub findings: Vec<Finding>,
    /// What is done.
    pub outcome: Outcome<'a>,
}

/// A reason for or against a strategy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The strategy.
    pub strategy: Strategy,
    /// Whether the reason speaks for it.
    pub supports: bool,
    /// The reason.
    pub reason: Reason,
}

/// What is done with a pod.
#[derive(Debug, Clone)]
pub enum Outcome<'a> {
    /// Nothing.
    Leave(Reason),
    /// This is injected.
    Apply(Box<Plan<'a>>),
}

/// What to inject: everything that the injections need to know beside the pod.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The chosen strategy: never `None`.
    pub strategy: Strategy,
    /// The CI system.
    pub system: &'a str,
    /// The profile.
    pub profile: &'a Profile,
    /// The containers in which jobs run.
    pub clients: Vec<ContainerRef>,
    /// What becomes of dockerd.
    pub dockerd: DockerdPlan,
    /// The host socket to mount, for the strategies that use one.
    pub socket: Option<String>,
    /// The label to tie the pod to.
    pub pin: Option<Pin>,
    /// Whether host paths and privileged containers are admissible.
    pub host_access: bool,
    /// Whether added sidecars can be native ones.
    pub native_sidecars: bool,
    /// The namespace's name.
    pub namespace: &'a str,
    /// The limits of the namespace's LimitRanges.
    pub limits: &'a [LimitRangeItem],
    /// What the namespace's ResourceQuotas count, such as `requests.memory`.
    pub quotas: &'a BTreeSet<String>,
    /// Mirrors to leave out.
    pub dead_mirrors: &'a [String],
    /// What came of asking the pool for a claim; `None` before anybody asked.
    pub grant: Option<&'a LeaseResult>,
}

/// What becomes of dockerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DockerdPlan {
    /// There is none, and none comes.
    Absent,
    /// The sidecar stays and is optimised.
    Sidecar(ContainerRef),
    /// It stays inside the runner container and is optimised.
    InRunner(ContainerRef),
    /// A sidecar is added.
    Add,
    /// The sidecar is taken out.
    Remove(ContainerRef),
}

impl Decision<'_> {
    /// The strategy; [`Strategy::None`] for a pod that is left alone.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        match &self.outcome {
            Outcome::Leave(_) => Strategy::None,
            Outcome::Apply(plan) => plan.strategy,
        }
    }

    /// The one reason that says most: why the pod is left alone, or what speaks for its strategy.
    #[must_use]
    pub fn main_reason(&self) -> Option<&Reason> {
        match &self.outcome {
            Outcome::Leave(reason) => Some(reason),
            Outcome::Apply(plan) => self
                .findings
                .iter()
                .find(|f| f.supports && f.strategy == plan.strategy)
                .map(|f| &f.reason),
        }
    }
}

/// Decides what a pod of the namespace `namespace` gets.
#[must_use]
pub fn decide<'a>(pod: &Pod<'_>, namespace: &'a str, cluster: Cluster<'a>) -> Decision<'a> {
    let known = cluster.namespaces.get(namespace);
    let mut decision = Decision {
        system: None,
        profile: None,
        findings: Vec::new(),
        outcome: Outcome::Leave(Reason::NotARunner),
    };
    if let Some(reason) = opted_out(pod, namespace, known) {
        decision.outcome = Outcome::Leave(reason);
        return decision;
    }
    if pod.is_too_large() {
        decision.outcome = Outcome::Leave(Reason::PodTooLarge);
        return decision;
    }
    let Some(runner) = recognise(pod, cluster.policy.recognisers()) else {
        return decision;
    };
    decision.system = Some(runner.system);
    let (name, profile) = match select_profile(namespace, known, cluster.policy) {
        Ok(selected) => selected,
        Err(reason) => {
            decision.outcome = Outcome::Leave(reason);
            return decision;
        }
    };
    decision.profile = Some(name);
    if let Some(reason) = builds_nothing(pod, &runner) {
        decision.outcome = Outcome::Leave(reason);
        return decision;
    }
    let mut choice = Choice {
        pod,
        runner: &runner,
        profile,
        cluster,
        namespace,
        known,
        candidates: cluster
            .nodes
            .map(|nodes| nodes.candidates(pod, cluster.policy.node_pools())),
        findings: Vec::new(),
    };
    decision.outcome = choice.make();
    decision.findings = choice.findings;
    decision
}

/// The profile of a namespace, with its name; `None` where nothing is done at all.
#[must_use]
pub fn profile_of<'a>(namespace: &Namespace, policy: &'a Policy) -> Option<(&'a str, &'a Profile)> {
    profile_or_reason(namespace, policy).ok()
}

/// The profile of a namespace, with its name.
///
/// # Errors
/// Why nothing is done there at all.
pub fn profile_or_reason<'a>(
    namespace: &Namespace,
    policy: &'a Policy,
) -> Result<(&'a str, &'a Profile), Reason> {
    if namespace.is_protected() {
        Err(Reason::NamespaceProtected)
    } else if namespace.is_enabled() {
        select_profile(&namespace.name, Some(namespace), policy)
    } else {
        Err(Reason::NamespaceNotEnabled)
    }
}

/// Whether the pod or its namespace is out, before anything is looked at. The pod's word is last.
fn opted_out(pod: &Pod<'_>, name: &str, known: Option<&Namespace>) -> Option<Reason> {
    let says_false = |value: Option<&str>| value.is_some_and(|v| v == "false" || v == "disabled");
    let protected = Namespace {
        name: name.to_owned(),
        ..Namespace::default()
    };
    if known.unwrap_or(&protected).is_protected() {
        Some(Reason::NamespaceProtected)
    } else if known.is_some_and(|namespace| !namespace.is_enabled()) {
        Some(Reason::NamespaceNotEnabled)
    } else if says_false(pod.metadata.label(INJECT)) || says_false(pod.metadata.annotation(INJECT))
    {
        Some(Reason::PodOptedOut)
    } else {
        None
    }
}

fn builds_nothing(pod: &Pod<'_>, runner: &RunnerPod<'_>) -> Option<Reason> {
    if pod.is_windows() {
        Some(Reason::WindowsPod)
    } else if runner.kubernetes_mode {
        Some(Reason::KubernetesMode)
    } else {
        None
    }
}

/// The policy's rule for the namespace, then the namespace's label, then `default`.
fn select_profile<'a>(
    namespace: &str,
    known: Option<&Namespace>,
    policy: &'a Policy,
) -> Result<(&'a str, &'a Profile), Reason> {
    let find = |name: &str| {
        policy
            .profile(name)
            .ok_or_else(|| Reason::ProfileUnknown(bounded(name)))
    };
    if let Some(name) = policy.profile_for_namespace(namespace) {
        return find(name);
    }
    let Some(name) = known.and_then(Namespace::profile) else {
        return find(DEFAULT_PROFILE);
    };
    let (name, profile) = find(name)?;
    if profile.selectable {
        Ok((name, profile))
    } else {
        Err(Reason::ProfileNotSelectable(bounded(name)))
    }
}

/// Text from strangers, cut to what a message can bear.
fn bounded(text: &str) -> String {
    text.chars().take(63).filter(|c| !c.is_control()).collect()
}
