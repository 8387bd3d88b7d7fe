//! Host access: whether host paths, host sockets and privileged containers are admissible.

use super::choice::Choice;
use crate::{k8s::namespace::PodSecurity, nodes::Restriction, reason::Reason};

/// Runtime classes that run containers on the host's kernel and in its mount namespace.
const HOST_RUNTIME_CLASSES: [&str; 4] = ["runc", "crun", "youki", "nvidia"];
const FARGATE_PROFILE: &str = "eks.amazonaws.com/fargate-profile";
const FARGATE_SCHEDULER: &str = "fargate-scheduler";

impl Choice<'_, '_> {
    /// Checks whether the profile, the namespace and the pod admit host access.
    pub(super) fn host_access(&self) -> Result<(), Reason> {
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
            return Err(Reason::RuntimeClass(super::bounded(class)));
        }
        // A Fargate node is created for its pod, so there is no node to check beforehand.
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

    /// Checks that no candidate node forbids host paths and privileged containers. Bottlerocket
    /// forbids only its socket.
    pub(super) fn nodes_admit_host_access(&self) -> Result<(), Reason> {
        let candidates = self.candidates.as_ref().ok_or(Reason::NodesNotSynced)?;
        match candidates.restriction() {
            None | Some(Restriction::Bottlerocket) => Ok(()),
            Some(restriction) => Err(Reason::NodeRestricted(restriction)),
        }
    }
}
