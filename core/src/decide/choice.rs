//! The decision table: strategies are tried best first, and each is refused with a reason or taken.

use std::collections::BTreeSet;

use super::{
    Cluster, DockerdPlan, Finding, Outcome, Plan, STRATEGY, Strategy, bounded,
    host_runtime::HostRuntime,
};
use crate::{
    cache::key::CacheKey,
    k8s::namespace::Namespace,
    nodes::Candidates,
    pod::{Container, Pod},
    policy::{Profile, StrategyChoice},
    reason::Reason,
    recognise::RunnerPod,
};

/// The first minor version of Kubernetes 1.x whose kubelets run native sidecars by default.
const NATIVE_SIDECARS: u32 = 29;
static NO_QUOTAS: BTreeSet<String> = BTreeSet::new();

/// A choice between strategies for one pod.
pub(super) struct Choice<'a, 'p> {
    pub pod: &'p Pod<'p>,
    pub runner: &'p RunnerPod<'a>,
    pub profile: &'a Profile,
    pub cluster: Cluster<'a>,
    pub known: Option<&'a Namespace>,
    pub candidates: Option<Candidates<'a>>,
    pub findings: Vec<Finding>,
}

/// Why a strategy is not taken.
pub(super) enum Refusal {
    /// The next strategy is tried.
    Next(Reason),
    /// The pod is left alone.
    Leave(Reason),
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Next(reason)
    }
}

impl<'a, 'p> Choice<'a, 'p> {
    /// Chooses a strategy, and records the findings that led to it.
    pub fn make(&mut self) -> Outcome<'a> {
        let (wanted, asked_by) = self.wanted();
        let order: &[Strategy] = match wanted {
            StrategyChoice::Auto => &[Strategy::Containerd, Strategy::DockerSocket, Strategy::Dind],
            StrategyChoice::Containerd => &[Strategy::Containerd, Strategy::Dind],
            StrategyChoice::DockerSocket => &[Strategy::DockerSocket, Strategy::Dind],
            StrategyChoice::Dind => &[Strategy::Dind],
            StrategyChoice::None => return Outcome::Leave(Reason::NothingAsked),
        };
        if let (Some(first), Some(reason)) = (order.first(), asked_by) {
            self.supports(*first, reason);
        }
        for strategy in order.iter().copied() {
            let attempt = match strategy {
                Strategy::Containerd => self.host_socket(HostRuntime::Containerd, wanted),
                Strategy::DockerSocket => self.host_socket(HostRuntime::DockerEngine, wanted),
                Strategy::Dind => self.dind(),
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

    /// Returns the profile's strategy, narrowed by the pod's annotation, and who asked for it.
    fn wanted(&mut self) -> (StrategyChoice, Option<Reason>) {
        let of_profile = self.profile.strategy;
        let by_profile = (of_profile != StrategyChoice::Auto).then_some(Reason::ProfileAsks);
        let Some(asked) = self.pod.metadata.annotation(STRATEGY) else {
            return (of_profile, by_profile);
        };
        let narrowed = match asked.parse() {
            Ok(Strategy::None) => Some(StrategyChoice::None),
            Ok(_) if of_profile == StrategyChoice::None => None,
            Ok(Strategy::Dind) => Some(StrategyChoice::Dind),
            Ok(Strategy::Containerd) => Some(StrategyChoice::Containerd),
            Ok(Strategy::DockerSocket) => Some(StrategyChoice::DockerSocket),
            Err(_) => (asked == "auto").then_some(of_profile),
        };
        // A pod may ask for a host socket only if its profile could choose the same one.
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

    /// Returns the containers in which jobs run.
    pub(super) fn clients(&self) -> impl Iterator<Item = &'p Container<'p>> + use<'a, 'p> {
        let pod = self.pod;
        let clients = self.runner.clients.iter();
        clients.filter_map(|at| pod.container(*at))
    }

    /// Returns the plan for a strategy.
    pub(super) fn plan(
        &self,
        strategy: Strategy,
        dockerd: DockerdPlan,
        host_access: bool,
    ) -> Plan<'a> {
        let minor = self.candidates.as_ref().and_then(Candidates::kubelet_minor);
        let key_source = match dockerd {
            DockerdPlan::Sidecar(_) | DockerdPlan::InRunner(_) | DockerdPlan::Add => {
                self.profile.dind.cache.key()
            }
            DockerdPlan::Absent | DockerdPlan::Remove(_) if strategy == Strategy::Containerd => {
                self.profile.containerd.cache_key(&self.profile.dind)
            }
            DockerdPlan::Absent | DockerdPlan::Hidden | DockerdPlan::Remove(_) => None,
        };
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
            namespace: self.known.map(|namespace| namespace.name.as_str()),
            limits: self.known.map_or(&[], |namespace| &namespace.limits),
            quotas: self.known.map_or(&NO_QUOTAS, |namespace| &namespace.quotas),
            dead_mirrors: self.cluster.dead_mirrors,
            cache_key: key_source.map(|(source, label)| CacheKey::of(self.pod, source, label)),
            lease: None,
        }
    }

    /// Records a reason for a strategy.
    pub(super) fn supports(&mut self, strategy: Strategy, reason: Reason) {
        self.findings.push(Finding {
            strategy,
            supports: true,
            reason,
        });
    }

    /// Records a reason against a strategy.
    fn rejects(&mut self, strategy: Strategy, reason: Reason) {
        self.findings.push(Finding {
            strategy,
            supports: false,
            reason,
        });
    }
}
