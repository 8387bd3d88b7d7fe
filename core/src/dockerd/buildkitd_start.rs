//! The start wrapper of buildkitd, in a pod without dockerd.

use std::borrow::Cow;

use super::{
    KeptRoot, StartScript,
    start_wrapper::{CLAIM, END_OF_OPTIONS, NAME, SLOTS},
};

const BUILDX: &str = "buildx";
/// What BuildKit's image runs when a container has no command. Older ones run `buildkitd` itself.
const IMAGE_ENTRYPOINT: &str = "buildkitd-entrypoint";

/// What the start wrapper does before buildkitd starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildkitdStart {
    /// Where buildkitd's state is, where it outlives the pod.
    pub kept_root: Option<KeptRoot>,
    /// Whether `docker buildx` in the runner is told of buildkitd.
    pub shares_builder: bool,
}

impl BuildkitdStart {
    /// Writes the container's `command`; empty where there is nothing to do, so that no wrapper is needed.
    #[must_use]
    pub fn command(self) -> Vec<Cow<'static, str>> {
        let kept = self.kept_root.map(|kept| match kept {
            KeptRoot::Slots(slots) => Cow::Owned(format!("{SLOTS}{}", slots.count)),
            KeptRoot::Claim => Cow::Borrowed(CLAIM),
        });
        if kept.is_none() && !self.shares_builder {
            return Vec::new();
        }
        let head = ["sh", "-c", StartScript::for_buildkitd(self), NAME];
        let tail = [END_OF_OPTIONS, IMAGE_ENTRYPOINT];
        head.map(Cow::Borrowed)
            .into_iter()
            .chain(kept)
            .chain(self.shares_builder.then_some(Cow::Borrowed(BUILDX)))
            .chain(tail.map(Cow::Borrowed))
            .collect()
    }
}
