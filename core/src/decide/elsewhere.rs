//! A pod that builds elsewhere: a socket or a second builder would not be used.

use super::choice::Choice;
use crate::{
    dockerd::{Image, Setting, words},
    inject::{BUILDKITD, BUILDKITD_ADDRESS},
    pod::Container,
    reason::Reason,
    recognise::{DockerHost, Dockerd, OWN_CONTAINERS},
};

const BUILDKIT_HOST: &str = "BUILDKIT_HOST";

impl Choice<'_, '_> {
    /// Checks that jobs have no builder but the pod's dockerd and what Slipway added.
    pub(super) fn builds_here(&self) -> Result<(), Reason> {
        let names_buildkitd = |client: &Container<'_>| {
            let variable = client.env_var(BUILDKIT_HOST);
            variable.is_some_and(|variable| {
                !variable.is_empty() && !self.is_added_buildkitd(variable.value.as_deref())
            })
        };
        let names_dockerd =
            |client: &Container<'_>| DockerHost::of(client, self.pod) == DockerHost::Elsewhere;
        if self.clients().any(names_buildkitd) {
            Err(Reason::PodSets(Setting::Variable(BUILDKIT_HOST.to_owned())))
        } else if self.runner.dockerd == Dockerd::Absent && self.clients().any(names_dockerd) {
            Err(Reason::PodSets(Setting::Variable("DOCKER_HOST".to_owned())))
        } else if self.pod.long_lived().any(|(_, c)| runs_buildkitd(c)) {
            Err(Reason::PodBringsBuildkitd)
        } else {
            Ok(())
        }
    }

    /// Returns whether this is the address of the buildkitd that Slipway added when it decided before.
    fn is_added_buildkitd(&self, address: Option<&str>) -> bool {
        let mut containers = self.pod.long_lived();
        address == Some(BUILDKITD_ADDRESS) && containers.any(|(_, c)| c.name == BUILDKITD)
    }
}

/// Returns whether the container runs a buildkitd of the pod's own.
fn runs_buildkitd(container: &Container<'_>) -> bool {
    if container.name.starts_with(OWN_CONTAINERS) {
        return false;
    }
    let image = Image::parse(container.image.as_deref().unwrap_or_default());
    let command = container.command.as_deref().unwrap_or_default();
    let by_entrypoint = command.is_empty() && image.base.ends_with("buildkit");
    by_entrypoint
        || words(container)
            .into_iter()
            .any(|word| word.contains("buildkitd"))
}
