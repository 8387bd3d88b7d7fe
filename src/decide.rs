//! `decide(pod, cluster) -> Decision`: which build path a pod gets, and why. Pure.

use std::fmt;

use crate::{
    namespace::{INJECT, LimitRangeItem, Namespace, Namespaces, PodSecurity},
    nodes::{Agreement, Candidates, Pin, Restriction, RuntimeFacts, RuntimeKind, Snapshot},
    pod::{Container, ContainerRef, Pod},
    policy::{
        DEFAULT_PROFILE, InjectDind, Policy, Profile, StrategyChoice, WhenMixed, WhenNoNodes,
        values::SocketPath,
    },
    reason::Reason,
    recognise::{Dockerd, RunnerPod, recognise},
};

/// Annotation by which a pod asks for a strategy that its profile allows.
pub const STRATEGY: &str = "slipway.io/strategy";

/// Runtime classes that run containers on the host's kernel, in the host's mount namespace.
const HOST_RUNTIME_CLASSES: [&str; 4] = ["runc", "crun", "youki", "nvidia"];
/// The first minor version of Kubernetes 1.x whose kubelets run native sidecars by default.
const NATIVE_SIDECARS: u32 = 29;

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
    pub fn as_str(self) -> &'static str {
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
    /// Mirrors to leave out.
    pub dead_mirrors: &'a [String],
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

/// The considering of strategies, best first.
struct Choice<'a, 'p> {
    pod: &'p Pod<'p>,
    runner: &'p RunnerPod<'a>,
    profile: &'a Profile,
    cluster: Cluster<'a>,
    namespace: &'a str,
    known: Option<&'a Namespace>,
    candidates: Option<Candidates<'a>>,
    findings: Vec<Finding>,
}

/// Why a strategy is not taken.
enum Refusal {
    /// The next one is looked at.
    Next(Reason),
    /// The pod is left alone.
    Leave(Reason),
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Next(reason)
    }
}

/// A host socket that every candidate has.
struct HostSocket {
    path: String,
    pin: Option<Pin>,
    reason: Reason,
}

impl<'a> Choice<'a, '_> {
    fn make(&mut self) -> Outcome<'a> {
        let (wanted, asked_by) = self.wanted();
        let order: &[Strategy] = match wanted {
            StrategyChoice::Auto => &[Strategy::Containerd, Strategy::DockerSocket, Strategy::Dind],
            StrategyChoice::Containerd => &[Strategy::Containerd, Strategy::Dind],
            StrategyChoice::DockerSocket => &[Strategy::DockerSocket, Strategy::Dind],
            StrategyChoice::Dind => &[Strategy::Dind],
            StrategyChoice::None => return Outcome::Leave(Reason::NothingAsked),
        };
        for (i, strategy) in order.iter().copied().enumerate() {
            if let (0, Some(reason)) = (i, &asked_by) {
                self.supports(strategy, reason.clone());
            }
            let attempt = match strategy {
                Strategy::Dind => self.dind(),
                Strategy::Containerd | Strategy::DockerSocket => self.host(strategy, wanted),
                Strategy::None => continue,
            };
            match attempt {
                Ok(plan) => return Outcome::Apply(Box::new(plan)),
                Err(Refusal::Next(reason)) => self.rejects(strategy, reason),
                Err(Refusal::Leave(reason)) => {
                    self.rejects(strategy, reason.clone());
                    return Outcome::Leave(reason);
                }
            }
        }
        Outcome::Leave(Reason::NoStrategyLeft)
    }

    /// What the profile asks for, as the pod's annotation narrows it, and who asks.
    fn wanted(&mut self) -> (StrategyChoice, Option<Reason>) {
        let of_profile = self.profile.strategy;
        let by_profile = (of_profile != StrategyChoice::Auto).then_some(Reason::ProfileAsks);
        let Some(asked) = self.pod.metadata.annotation(STRATEGY) else {
            return (of_profile, by_profile);
        };
        let narrowed = match Strategy::from_name(asked) {
            Some(Strategy::None) => Some(StrategyChoice::None),
            Some(_) if of_profile == StrategyChoice::None => None,
            Some(Strategy::Dind) => Some(StrategyChoice::Dind),
            Some(Strategy::Containerd) => Some(StrategyChoice::Containerd),
            Some(Strategy::DockerSocket) => Some(StrategyChoice::DockerSocket),
            None => (asked == "auto").then_some(of_profile),
        };
        // A host socket may be asked for only where the profile itself could choose it.
        let allowed = narrowed.filter(|asked| {
            matches!(asked, StrategyChoice::None | StrategyChoice::Dind)
                || of_profile == StrategyChoice::Auto
                || *asked == of_profile
        });
        if let Some(choice) = allowed {
            (choice, Some(Reason::PodAsks))
        } else {
            self.rejects(Strategy::None, Reason::PodAskRefused(bounded(asked)));
            (of_profile, by_profile)
        }
    }

    /// The node's containerd or Docker Engine socket.
    fn host(&mut self, strategy: Strategy, wanted: StrategyChoice) -> Result<Plan<'a>, Refusal> {
        let dockerd = self.dockerd_beside_host_socket(strategy, wanted)?;
        self.host_access()?;
        let socket = self.socket(strategy)?;
        self.supports(strategy, socket.reason);
        if let Some(pin) = &socket.pin {
            let reason = Reason::Pinned {
                key: pin.key.clone(),
                values: pin.values.join(", "),
            };
            self.supports(strategy, reason);
        }
        if matches!(dockerd, DockerdPlan::Remove(_)) {
            self.supports(strategy, Reason::DockerdReplaced);
        }
        Ok(Plan {
            socket: Some(socket.path),
            pin: socket.pin,
            ..self.plan(strategy, dockerd, true)
        })
    }

    /// What becomes of the pod's dockerd when a host socket is mounted.
    fn dockerd_beside_host_socket(
        &self,
        strategy: Strategy,
        wanted: StrategyChoice,
    ) -> Result<DockerdPlan, Reason> {
        let asked_for_containerd = wanted == StrategyChoice::Containerd;
        match self.runner.dockerd {
            Dockerd::Absent => Ok(DockerdPlan::Absent),
            Dockerd::Sidecar(place) if self.profile.replace_dockerd => {
                Ok(DockerdPlan::Remove(place))
            }
            // containerd's socket can stand beside a dockerd; a second docker.sock cannot.
            Dockerd::Sidecar(place) if asked_for_containerd => Ok(DockerdPlan::Sidecar(place)),
            Dockerd::InRunner(place) if asked_for_containerd => Ok(DockerdPlan::InRunner(place)),
            Dockerd::InRunner(_) if strategy == Strategy::DockerSocket => {
                Err(Reason::DockerdInRunner)
            }
            Dockerd::Sidecar(_) | Dockerd::InRunner(_) => Err(Reason::PodBringsDockerd),
        }
    }

    /// Docker-in-Docker: the pod's own, or an added one.
    fn dind(&mut self) -> Result<Plan<'a>, Refusal> {
        let host_access = self
            .host_access()
            .and_then(|()| self.nodes_admit_host_access());
        let dockerd = match self.runner.dockerd {
            Dockerd::Sidecar(place) => DockerdPlan::Sidecar(place),
            Dockerd::InRunner(place) => DockerdPlan::InRunner(place),
            Dockerd::Absent if self.profile.dind.inject == InjectDind::Never => {
                return Err(Reason::NoDockerd.into());
            }
            Dockerd::Absent => {
                host_access.clone()?;
                if self.speaks_to_another_docker() {
                    return Err(Reason::PodSets("DOCKER_HOST".to_owned()).into());
                }
                self.supports(Strategy::Dind, Reason::DockerdAdded);
                DockerdPlan::Add
            }
        };
        if dockerd != DockerdPlan::Add {
            self.supports(Strategy::Dind, Reason::PodBringsDockerd);
        }
        Ok(self.plan(Strategy::Dind, dockerd, host_access.is_ok()))
    }

    /// Whether a client is pointed at a docker somewhere else already.
    fn speaks_to_another_docker(&self) -> bool {
        let clients = self.runner.clients.iter();
        clients
            .filter_map(|place| self.pod.container(*place))
            .any(|client| client.env_var("DOCKER_HOST").is_some())
    }

    fn plan(&self, strategy: Strategy, dockerd: DockerdPlan, host_access: bool) -> Plan<'a> {
        let minor = self.candidates.as_ref().and_then(Candidates::kubelet_minor);
        Plan {
            strategy,
            system: self.runner.system,
            profile: self.profile,
            clients: self.runner.clients.clone(),
            dockerd,
            socket: None,
            pin: None,
            host_access,
            native_sidecars: minor.is_none_or(|minor| minor >= NATIVE_SIDECARS),
            namespace: self.namespace,
            limits: self.known.map_or(&[], |namespace| &namespace.limits),
            dead_mirrors: self.cluster.dead_mirrors,
        }
    }

    /// Whether the profile, the namespace and the pod admit host paths and privileged containers.
    fn host_access(&self) -> Result<(), Reason> {
        if !self.profile.host_access {
            return Err(Reason::HostAccessOff);
        }
        let namespace = self.known.ok_or(Reason::NamespaceUnknown)?;
        let level = namespace.pod_security(self.cluster.policy.pod_security_default());
        if level != PodSecurity::Privileged {
            return Err(Reason::PodSecurity(level));
        }
        if let Some(class) = self.pod.spec.runtime_class_name.as_deref()
            && !HOST_RUNTIME_CLASSES.contains(&class)
        {
            return Err(Reason::RuntimeClass(bounded(class)));
        }
        if self.pod.spec.host_users == Some(false) {
            return Err(Reason::UserNamespace);
        }
        Ok(())
    }

    /// Whether no candidate forbids host paths and privileged containers. Bottlerocket denies the
    /// socket only.
    fn nodes_admit_host_access(&self) -> Result<(), Reason> {
        match self.candidates.as_ref().and_then(Candidates::restriction) {
            None | Some(Restriction::Bottlerocket) => Ok(()),
            Some(restriction) => Err(Reason::NodeRestricted(restriction)),
        }
    }

    /// The socket that every candidate has, or that those have to which the pod is pinned.
    fn socket(&self, strategy: Strategy) -> Result<HostSocket, Refusal> {
        let (kind, given) = match strategy {
            Strategy::Containerd => (
                RuntimeKind::Containerd,
                &self.profile.containerd.socket_path,
            ),
            _ => (RuntimeKind::Docker, &self.profile.docker_socket.socket_path),
        };
        let candidates = self.candidates.as_ref().ok_or(Reason::NodesNotSynced)?;
        let usable = |facts: &RuntimeFacts| match given {
            SocketPath::At(path) => Some(path.to_string()),
            SocketPath::Auto => facts.socket.clone(),
        };
        let (facts, pin) = match candidates.agreement(*given == SocketPath::Auto) {
            Agreement::On(facts) => (facts.clone(), None),
            Agreement::None => {
                return Err(match self.profile.when_no_nodes {
                    WhenNoNodes::Dind => Refusal::Next(Reason::NoCandidates),
                    WhenNoNodes::None => Refusal::Leave(Reason::LeftBecauseNoNodes),
                });
            }
            Agreement::Mixed => {
                let differ = || Reason::NodesDiffer(candidates.summary());
                match self.profile.when_mixed {
                    WhenMixed::Dind => return Err(differ().into()),
                    WhenMixed::None => return Err(Refusal::Leave(Reason::LeftBecauseMixed)),
                    WhenMixed::Pin => {
                        let pin = candidates
                            .pin_to(kind, *given == SocketPath::Auto)
                            .ok_or_else(differ)?;
                        (pin.facts.clone(), Some(pin))
                    }
                }
            }
        };
        if facts.kind != kind {
            return Err(Reason::OtherRuntime(facts.kind).into());
        }
        self.restriction_allows(&facts)?;
        let path = usable(&facts).ok_or(Reason::OtherRuntime(facts.kind))?;
        let reason = match &pin {
            Some(_) => Reason::NodesDiffer(candidates.summary()),
            None => Reason::NodesAgree {
                kind,
                socket: path.clone(),
                nodes: candidates.nodes(),
            },
        };
        Ok(HostSocket { path, pin, reason })
    }

    /// Bottlerocket denies its socket to containers that are not privileged, others to all.
    fn restriction_allows(&self, facts: &RuntimeFacts) -> Result<(), Reason> {
        let privileged = || {
            self.runner.clients.iter().all(|place| {
                let client = self.pod.container(*place);
                client.is_some_and(Container::is_privileged)
            })
        };
        match facts.restriction {
            None => Ok(()),
            Some(Restriction::Bottlerocket) if privileged() => Ok(()),
            Some(restriction) => Err(Reason::NodeRestricted(restriction)),
        }
    }

    fn supports(&mut self, strategy: Strategy, reason: Reason) {
        self.findings.push(Finding {
            strategy,
            supports: true,
            reason,
        });
    }

    fn rejects(&mut self, strategy: Strategy, reason: Reason) {
        self.findings.push(Finding {
            strategy,
            supports: false,
            reason,
        });
    }
}
