//! The strategy `dind`: the pod's own dockerd, or one that is added.

use super::{
    DockerdPlan, Plan, Strategy,
    choice::{Choice, Refusal},
};
use crate::{
    dockerd::Setting,
    policy::InjectDind,
    reason::{AddedDaemon, Reason},
    recognise::Dockerd,
};

impl<'a> Choice<'a, '_> {
    /// Plans to optimise the pod's dockerd, or to add one.
    pub(super) fn dind(&mut self) -> Result<Plan<'a>, Refusal> {
        let host_access = self
            .host_access()
            .and_then(|()| self.nodes_admit_host_access());
        let admits_host_access = host_access.is_ok();
        let dockerd = match self.runner.dockerd {
            Dockerd::Sidecar(at) => DockerdPlan::Sidecar(at),
            Dockerd::InRunner(at) => DockerdPlan::InRunner(at),
            Dockerd::Hidden => DockerdPlan::Hidden,
            Dockerd::Absent if self.profile.dind.inject == InjectDind::Never => {
                return Err(Reason::NoDockerd.into());
            }
            Dockerd::Absent => {
                host_access?;
                if self.clients().any(|c| c.env_var("DOCKER_HOST").is_some()) {
                    return Err(Reason::PodSets(Setting::Variable("DOCKER_HOST".to_owned())).into());
                }
                self.builds_here()?;
                self.quotas_admit_dockerd()?;
                DockerdPlan::Add
            }
        };
        let reason = match dockerd {
            DockerdPlan::Add => Reason::DockerdAdded,
            _ => Reason::PodBringsDockerd,
        };
        self.supports(Strategy::Dind, reason);
        Ok(self.plan(Strategy::Dind, dockerd, admits_host_access))
    }

    /// Checks that an added dockerd sets the resources that ResourceQuotas require. If the pod sets
    /// pod-level resources, quotas require nothing of its containers.
    fn quotas_admit_dockerd(&self) -> Result<(), Reason> {
        let Some(namespace) = self
            .known
            .filter(|_| !self.pod.spec.has_pod_level_resources())
        else {
            return Ok(());
        };
        let settings = &self.profile.dind.resources;
        match settings.missing_for_quota(&namespace.quotas, &namespace.limits) {
            Some(resource) => Err(Reason::QuotaDemands {
                container: AddedDaemon::Dockerd,
                resource: resource.to_owned(),
            }),
            None => Ok(()),
        }
    }
}
