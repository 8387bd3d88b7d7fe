//! The strategies `containerd` and `docker-socket`: the socket of the node's own runtime.

use super::{
    DockerdPlan, Plan, Strategy,
    choice::{Choice, Refusal},
    host_runtime::HostRuntime,
};
use crate::{
    dockerd::{Setting, may_run_dockerd},
    inject::docker_socket_path,
    nodes::{Agreement, Pin, Restriction, RuntimeFacts},
    pod::{Container, ContainerRef},
    policy::{StrategyChoice, WhenMixed, WhenNoNodes, values::SocketPath},
    reason::Reason,
    recognise::Dockerd,
};

/// The variables by which clients find dockerd.
const CLIENT_VARIABLES: [&str; 3] = ["DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"];

/// A socket that every candidate node has, or every node that the pod is pinned to.
struct HostSocket {
    path: String,
    pin: Option<Pin>,
    reason: Reason,
}

impl<'a> Choice<'a, '_> {
    /// Plans to mount the socket of a host runtime.
    pub(super) fn host_socket(
        &mut self,
        runtime: HostRuntime,
        wanted: StrategyChoice,
    ) -> Result<Plan<'a>, Refusal> {
        let strategy = runtime.strategy();
        let dockerd = self.dockerd_beside(runtime, wanted)?;
        self.host_access()?;
        if !self.profile.host_sockets {
            return self.without_socket(runtime, dockerd, Reason::HostSocketsOff);
        }
        if self.cluster.policy.withholds_sockets(self.runner.system) {
            let reason = Reason::SystemNotNamed(self.runner.system.to_owned());
            return self.without_socket(runtime, dockerd, reason);
        }
        let socket = self.socket(runtime)?;
        self.builds_here()?;
        if runtime == HostRuntime::DockerEngine && !self.finds_docker_socket(dockerd) {
            return Err(Reason::PodSets(Setting::Variable("DOCKER_HOST".to_owned())).into());
        }
        self.supports(strategy, socket.reason);
        if let Some(pin) = &socket.pin {
            let reason = Reason::Pinned {
                key: pin.key.clone(),
                values: pin.values.clone(),
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

    /// Plans a buildkitd on its own for a pod that gets no host socket, for this reason.
    fn without_socket(
        &mut self,
        runtime: HostRuntime,
        dockerd: DockerdPlan,
        reason: Reason,
    ) -> Result<Plan<'a>, Refusal> {
        let has_buildkitd = self.profile.containerd.buildkitd.is_some();
        let is_alone = dockerd == DockerdPlan::Absent;
        if runtime != HostRuntime::Containerd || !has_buildkitd || !is_alone {
            return Err(reason.into());
        }
        self.builds_here()?;
        self.nodes_admit_host_access()?;
        self.supports(Strategy::Containerd, Reason::BuildkitdAlone);
        Ok(self.plan(Strategy::Containerd, dockerd, true))
    }

    /// Returns whether a client would find the node's docker socket. In a privileged container it is never below
    /// `/run`, where a client may look for it.
    fn finds_docker_socket(&self, dockerd: DockerdPlan) -> bool {
        let is_replaced = matches!(dockerd, DockerdPlan::Remove(_));
        is_replaced
            || self
                .clients()
                .any(|client| docker_socket_path(client).is_some())
    }

    /// Returns what becomes of the pod's dockerd when the host socket is mounted.
    fn dockerd_beside(
        &self,
        runtime: HostRuntime,
        wanted: StrategyChoice,
    ) -> Result<DockerdPlan, Reason> {
        let replaces = self.profile.replace_dockerd;
        // A containerd socket can be mounted beside a dockerd; a second docker.sock cannot.
        let keeps_dockerd = wanted == StrategyChoice::Containerd;
        match self.runner.dockerd {
            Dockerd::Absent => Ok(DockerdPlan::Absent),
            // Jobs use it from pods of their own.
            Dockerd::Sidecar(_) if self.runner.clients.is_empty() => Err(Reason::PodBringsDockerd),
            Dockerd::Sidecar(at) if replaces && !self.is_needed(at) && self.is_alone(at) => {
                Ok(DockerdPlan::Remove(at))
            }
            Dockerd::Sidecar(at) if keeps_dockerd => Ok(DockerdPlan::Sidecar(at)),
            Dockerd::InRunner(at) if keeps_dockerd => Ok(DockerdPlan::InRunner(at)),
            Dockerd::Hidden if keeps_dockerd => Ok(DockerdPlan::Hidden),
            Dockerd::Sidecar(at) if replaces && self.is_needed(at) => Err(Reason::DockerdNeeded),
            Dockerd::InRunner(_) if runtime == HostRuntime::DockerEngine => {
                Err(Reason::DockerdInRunner)
            }
            Dockerd::Sidecar(_) | Dockerd::InRunner(_) | Dockerd::Hidden => {
                Err(Reason::PodBringsDockerd)
            }
        }
    }

    /// Returns whether no other container runs dockerd: the socket could disturb one that stays.
    fn is_alone(&self, dockerd: ContainerRef) -> bool {
        let mut others = self.pod.long_lived().filter(|(at, _)| *at != dockerd);
        !self.runner.has_more_dockerds && !others.any(|(_, container)| may_run_dockerd(container))
    }

    /// Returns whether something depends on the dockerd container that no patch reaches: jobs that run commands in
    /// it, another container that is its client, or GitLab's scripts, which set the job's variables again.
    fn is_needed(&self, dockerd: ContainerRef) -> bool {
        let uses = |c: &Container<'_>| {
            CLIENT_VARIABLES
                .iter()
                .any(|name| c.env_var(name).is_some())
        };
        let mut others = self
            .pod
            .long_lived()
            .filter(|(at, _)| *at != dockerd && !self.runner.clients.contains(at));
        self.runner.jobs_enter_containers
            || others.any(|(_, container)| uses(container))
            || self.runner.system == "gitlab" && self.clients().any(uses)
    }

    /// Finds the socket that all candidate nodes share, or those that the pod can be pinned to.
    fn socket(&self, runtime: HostRuntime) -> Result<HostSocket, Refusal> {
        let kind = runtime.kind();
        let configured = match runtime {
            HostRuntime::Containerd => &self.profile.containerd.socket_path,
            HostRuntime::DockerEngine => &self.profile.docker_socket.socket_path,
        };
        let sockets_matter = *configured == SocketPath::Auto;
        let candidates = self.candidates.as_ref().ok_or(Reason::NodesNotSynced)?;
        let (facts, pin) = match candidates.agreement(sockets_matter) {
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
                        let pin = candidates.pin_to(kind, sockets_matter).ok_or_else(differ)?;
                        (pin.facts.clone(), Some(pin))
                    }
                }
            }
        };
        let other_runtime = |lacks_socket| Reason::OtherRuntime {
            kind: facts.kind,
            lacks_socket,
        };
        if facts.kind != kind {
            return Err(other_runtime(false).into());
        }
        self.restriction_admits_socket(&facts)?;
        let path = match configured {
            SocketPath::At(path) => path.to_string(),
            SocketPath::Auto => facts.socket.ok_or_else(|| other_runtime(true))?,
        };
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

    /// Checks a node restriction. Bottlerocket denies its socket to unprivileged containers; other
    /// restricted nodes deny it to all.
    fn restriction_admits_socket(&self, facts: &RuntimeFacts) -> Result<(), Reason> {
        match facts.restriction {
            None => Ok(()),
            Some(Restriction::Bottlerocket) if self.clients().all(Container::is_privileged) => {
                Ok(())
            }
            Some(restriction) => Err(Reason::NodeRestricted(restriction)),
        }
    }
}
