//! Decides which build path a pod gets, and why.
//!
//! Opt-outs come first ([`opt_out`]), then the namespace's profile ([`profile`]), then the decision
//! table ([`choice`]) with one strategy per file: [`host_socket`] and [`dind`].

mod choice;
mod dind;
mod elsewhere;
mod host_access;
mod host_runtime;
mod host_socket;
mod opt_out;
mod profile;

use std::collections::BTreeSet;

use choice::Choice;
use opt_out::{builds_nothing, opted_out};
use profile::select_profile;
pub use profile::{profile_of, profile_or_reason};

use crate::{
    cache::{
        claims::{Claims, LeaseResult},
        key::CacheKey,
    },
    k8s::{limits::LimitRangeItem, names::is_dns_label, namespace::Namespaces},
    nodes::{Candidates, Pin, Snapshot},
    pod::{ContainerRef, Pod},
    policy::{Policy, Profile},
    reason::Reason,
    recognise::{RunnerPod, recognise},
};

/// Annotation by which a pod asks for a strategy that its profile allows.
pub const STRATEGY: &str = "slipway.io/strategy";

/// A build path. Its name is the one in the policy file.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Strategy {
    /// The node's containerd socket.
    Containerd,
    /// The node's Docker Engine socket.
    DockerSocket,
    /// Docker-in-Docker.
    Dind,
    /// No change.
    None,
}

impl Strategy {
    /// Returns its name, as in the policy file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What is known of the cluster; immutable.
#[derive(Debug, Clone, Copy)]
pub struct Cluster<'c> {
    /// The nodes; `None` until the first list has arrived.
    pub nodes: Option<&'c Snapshot>,
    /// The namespaces.
    pub namespaces: &'c Namespaces,
    /// The policy.
    pub policy: &'c Policy,
    /// Registry mirrors that did not answer when they were last probed.
    pub dead_mirrors: &'c [String],
    /// The claims of all claim pools; `None` until the first list has arrived, and without a cluster.
    pub claims: Option<&'c Claims>,
}

impl<'c> Cluster<'c> {
    /// Returns the nodes that could run a pod; `None` while the nodes are not known.
    #[must_use]
    pub fn candidates(&self, pod: &Pod<'_>) -> Option<Candidates<'c>> {
        let pools = self.policy.node_pools();
        Some(self.nodes?.candidates(pod, pools))
    }
}

/// A decision about a pod, with its reasons and with what was found out on the way.
#[derive(Debug, Clone)]
pub struct Decision<'a> {
    /// The roles of the pod's containers, if it was recognised as a runner.
    pub runner: Option<RunnerPod<'a>>,
    /// The profile's name, if one was selected.
    pub profile: Option<&'a str>,
    /// The nodes that could run the pod, if strategies were considered and the nodes are known.
    pub candidates: Option<Candidates<'a>>,
    /// What speaks for the chosen strategy and against each better one, in the order considered.
    pub findings: Vec<Finding>,
    /// What is done with the pod.
    pub outcome: Outcome<'a>,
    /// Whether the pod would get more if its namespace turned out to have opted in: the snapshot shows
    /// the namespace without its label, or not at all.
    pub namespace_in_doubt: bool,
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
    /// It is left alone, for this reason.
    Leave(Reason),
    /// It is changed according to this plan.
    Apply(Box<Plan<'a>>),
}

/// A plan for a pod: everything that the injections need to know besides the pod itself.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The chosen strategy; never [`Strategy::None`].
    pub strategy: Strategy,
    /// The CI system.
    pub system: &'a str,
    /// The profile.
    pub profile: &'a Profile,
    /// The containers in which jobs run.
    pub clients: Vec<ContainerRef>,
    /// What becomes of dockerd.
    pub dockerd: DockerdPlan,
    /// The host socket to mount, for strategies that use one.
    pub socket: Option<String>,
    /// The node label that the pod is pinned to.
    pub pin: Option<Pin>,
    /// Whether host paths and privileged containers are admissible.
    pub host_access: bool,
    /// Whether added sidecars can be native sidecars.
    pub native_sidecars: bool,
    /// The namespace's name, if the namespace is known.
    namespace: Option<&'a str>,
    /// The limits of the namespace's LimitRanges.
    pub limits: &'a [LimitRangeItem],
    /// What the namespace's ResourceQuotas count, such as `requests.memory`.
    pub quotas: &'a BTreeSet<String>,
    /// Mirrors to leave out.
    pub dead_mirrors: &'a [String],
    /// The cache key of the pod, if the cache of its dockerd or buildkitd is shared by key.
    pub cache_key: Option<CacheKey>,
    /// The result of the pod's claim request; `None` before the request was made.
    pub lease: Option<LeaseResult>,
}

/// What becomes of the pod's dockerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DockerdPlan {
    /// There is none, and none is added.
    Absent,
    /// The sidecar is kept and optimised.
    Sidecar(ContainerRef),
    /// It is kept inside the runner container and optimised.
    InRunner(ContainerRef),
    /// It is kept, in a container that cannot be told.
    Hidden,
    /// A sidecar is added.
    Add,
    /// The sidecar is removed.
    Remove(ContainerRef),
}

impl<'a> Plan<'a> {
    /// Returns the name of the namespace's own directory below a host path; `None` if host paths are
    /// not admissible.
    #[must_use]
    pub fn host_directory(&self) -> Option<&'a str> {
        let admissible = |name: &&str| self.host_access && is_dns_label(name);
        self.namespace.filter(admissible)
    }
}

impl<'a> Decision<'a> {
    /// Returns the CI system, if one was recognised.
    #[must_use]
    pub fn system(&self) -> Option<&'a str> {
        self.runner.as_ref().map(|runner| runner.system)
    }

    /// Returns the strategy; [`Strategy::None`] for a pod that is left alone.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        match &self.outcome {
            Outcome::Leave(_) => Strategy::None,
            Outcome::Apply(plan) => plan.strategy,
        }
    }

    /// Returns the most telling reason: why the pod is left alone, or what supports its strategy.
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

    /// Returns all reasons: why the pod is left alone, then the findings.
    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        let left = match &self.outcome {
            Outcome::Leave(reason) => Some(reason),
            Outcome::Apply(_) => None,
        };
        let findings = self.findings.iter().map(|finding| &finding.reason);
        left.into_iter().chain(findings)
    }

    /// Returns the codes of all reasons, each once.
    #[must_use]
    pub fn codes(&self) -> Vec<&'static str> {
        let mut codes = Vec::new();
        for code in self.reasons().map(Reason::code) {
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
        codes
    }
}

/// Decides what a pod of the namespace `namespace` gets.
#[must_use]
pub fn decide<'a>(pod: &Pod<'_>, namespace: &str, cluster: Cluster<'a>) -> Decision<'a> {
    let known = cluster.namespaces.get(namespace);
    let mut decision = Decision {
        runner: None,
        profile: None,
        candidates: None,
        findings: Vec::new(),
        outcome: Outcome::Leave(Reason::NotARunner),
        namespace_in_doubt: false,
    };
    if let Some(reason) = opted_out(pod, namespace, known) {
        decision.namespace_in_doubt = reason == Reason::NamespaceNotEnabled;
        decision.outcome = Outcome::Leave(reason);
        return decision;
    }
    let Some(runner) = recognise(pod, cluster.policy.recognisers()) else {
        return decision;
    };
    let runner = decision.runner.insert(runner);
    // Without the namespace's labels it gets no host access, and the default profile.
    decision.namespace_in_doubt = known.is_none();
    let profile = match select_profile(namespace, known, cluster.policy) {
        Ok((name, profile)) => {
            decision.profile = Some(name);
            profile
        }
        Err(reason) => {
            decision.outcome = Outcome::Leave(reason);
            return decision;
        }
    };
    if let Some(reason) = builds_nothing(pod, runner) {
        decision.outcome = Outcome::Leave(reason);
        return decision;
    }
    let mut choice = Choice {
        pod,
        runner,
        profile,
        cluster,
        known,
        candidates: cluster.candidates(pod),
        findings: Vec::new(),
    };
    decision.outcome = choice.make();
    decision.findings = choice.findings;
    decision.candidates = choice.candidates;
    decision
}

/// Returns text from a stranger, cut to a length that a message can hold.
fn bounded(text: &str) -> String {
    text.chars().take(63).filter(|c| !c.is_control()).collect()
}
