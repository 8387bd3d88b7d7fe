//! The considering of strategies, best first: each is refused with a reason, or taken.

use std::collections::BTreeSet;

use super::{Cluster, DockerdPlan, Finding, Outcome, Plan, STRATEGY, Strategy, bounded};
use crate::{
    dockerd::{Setting, runs_dockerd},
    k8s::namespace::{Namespace, PodSecurity},
    nodes::{Agreement, Candidates, Pin, Restriction, RuntimeFacts, RuntimeKind},
    pod::{Container, ContainerRef, Pod},
    policy::{InjectDind, Profile, StrategyChoice, WhenMixed, WhenNoNodes, values::SocketPath},
    reason::Reason,
    recognise::{Dockerd, RunnerPod},
};

/// Runtime classes that run containers on the host's kernel, in the host's mount namespace.
const HOST_RUNTIME_CLASSES: [&str; 4] = ["runc", "crun", "youki", "nvidia"];
const FARGATE_PROFILE: &str = "eks.amazonaws.com/fargate-profile";
const FARGATE_SCHEDULER: &str = "fargate-scheduler";
/// The first minor version of Kubernetes 1.x whose kubelets run native sidecars by default.
const NATIVE_SIDECARS: u32 = 29;
static NO_QUOTAS: BTreeSet<String> = BTreeSet::new();

/// A choice in the making.
pub(super) struct Choice<'a, 'p> {
    pub pod: &'p Pod<'p>,
    pub runner: &'p RunnerPod<'a>,
    pub profile: &'a Profile,
    pub cluster: Cluster<'a>,
    pub namespace: &'a str,
    pub known: Option<&'a Namespace>,
    pub candidates: Option<Candidates<'a>>,
    pub findings: Vec<Finding>,
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
    /// What is done; `findings` say why.
    pub fn make(&mut self) -> Outcome<'a> {
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
        if strategy == Strategy::DockerSocket && self.speaks_to_remote_docker() {
            return Err(Reason::PodSets(Setting::Variable("DOCKER_HOST".to_owned())).into());
        }
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
            Dockerd::Sidecar(place) if self.profile.replace_dockerd && self.is_alone(place) => {
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

    /// Whether no other container runs dockerd: a socket could disturb one that stays.
    fn is_alone(&self, dockerd: ContainerRef) -> bool {
        let mut others = self.pod.long_lived().filter(|(place, _)| *place != dockerd);
        !self.runner.has_more_dockerds && !others.any(|(_, container)| runs_dockerd(container))
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
                    return Err(Reason::PodSets(Setting::Variable("DOCKER_HOST".to_owned())).into());
                }
                self.quotas_admit_dockerd()?;
                self.supports(Strategy::Dind, Reason::DockerdAdded);
                DockerdPlan::Add
            }
        };
        if dockerd != DockerdPlan::Add {
            self.supports(Strategy::Dind, Reason::PodBringsDockerd);
        }
        Ok(self.plan(Strategy::Dind, dockerd, host_access.is_ok()))
    }

    /// Whether a dockerd that is added says of its resources what quotas demand. Where the pod says it as a whole, they demand
    /// nothing of containers.
    fn quotas_admit_dockerd(&self) -> Result<(), Reason> {
        let Some(namespace) = self.known.filter(|_| self.pod.spec.resources.is_none()) else {
            return Ok(());
        };
        let settings = &self.profile.dind.resources;
        match settings.missing_for_quota(&namespace.quotas, &namespace.limits) {
            Some(resource) => Err(Reason::QuotaDemands {
                container: "dockerd",
                resource: resource.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Whether a client without a dockerd in the pod is pointed at one in the network.
    fn speaks_to_remote_docker(&self) -> bool {
        let remote = |client: &Container<'_>| {
            let host = client.env_value("DOCKER_HOST");
            host.is_some_and(|host| !host.starts_with("unix://"))
        };
        let clients = self.runner.clients.iter();
        self.runner.dockerd == Dockerd::Absent
            && clients
                .filter_map(|place| self.pod.container(*place))
                .any(remote)
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
            quotas: self.known.map_or(&NO_QUOTAS, |namespace| &namespace.quotas),
            dead_mirrors: self.cluster.dead_mirrors,
            grant: self.cluster.pools.grant,
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
        // A Fargate node comes into being with its pod: there is none to look at before.
        let on_fargate = self.pod.metadata.label(FARGATE_PROFILE).is_some()
            || self.pod.spec.scheduler_name.as_deref() == Some(FARGATE_SCHEDULER);
        if on_fargate {
            return Err(Reason::NodeRestricted(Restriction::Fargate));
        }
        if self.pod.spec.host_users == Some(false) {
            return Err(Reason::UserNamespace);
        }
        Ok(())
    }

    /// Whether no candidate forbids host paths and privileged containers. Bottlerocket denies the
    /// socket only.
    fn nodes_admit_host_access(&self) -> Result<(), Reason> {
        let candidates = self.candidates.as_ref().ok_or(Reason::NodesNotSynced)?;
        match candidates.restriction() {
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
