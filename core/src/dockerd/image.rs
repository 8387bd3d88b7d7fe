//! Image references, and what they tell about the dockerd inside.

/// The name of docker's own image.
pub(super) const DOCKER: &str = "docker";
/// The organisation and the name of GitHub's image for scale sets, which has buildx.
const SCALE_SET: (&str, &str) = ("actions", "actions-runner");

/// An image reference, in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'p> {
    /// The part of the path before the name, if there is one.
    pub parent: Option<&'p str>,
    /// The name without registry, repository path, tag and digest.
    pub base: &'p str,
    /// The tag.
    pub tag: Option<&'p str>,
}

impl<'p> Image<'p> {
    /// Splits `reference`: `[registry[:port]/][path/]base[:tag][@digest]`.
    #[must_use]
    pub fn parse(reference: &'p str) -> Self {
        let name = reference.split('@').next().unwrap_or_default();
        let mut path = name.rsplit('/');
        let last = path.next().unwrap_or_default();
        let (base, tag) = match last.split_once(':') {
            Some((base, tag)) => (base, Some(tag)),
            None => (last, None),
        };
        Self {
            parent: path.next(),
            base,
            tag,
        }
    }

    /// Returns whether this is docker's image with a daemon, or one named like it: `…docker:…dind…`.
    #[must_use]
    pub fn is_dind(&self) -> bool {
        self.base.ends_with(DOCKER) && self.tag.is_some_and(|tag| tag.contains("dind"))
    }

    /// Returns whether the image is named after docker's image with a daemon, in name or tag.
    #[must_use]
    pub fn names_dind(&self) -> bool {
        self.base.contains("dind") || self.tag.is_some_and(|tag| tag.contains("dind"))
    }

    /// Returns whether a docker client in it is known to build with `DOCKER_BUILDKIT=1`: it has buildx, or needs
    /// none.
    #[must_use]
    pub fn builds_with_buildkit(&self) -> bool {
        self.base == DOCKER || (self.parent, self.base) == (Some(SCALE_SET.0), SCALE_SET.1)
    }

    /// Returns whether dockerd runs rootless in it, with its data-root in a home directory.
    #[must_use]
    pub fn is_rootless(&self) -> bool {
        self.base.contains("rootless") || self.tag.is_some_and(|tag| tag.contains("rootless"))
    }

    /// Returns the major version of Docker that the tag names; `None` for moving tags.
    #[must_use]
    pub fn docker_major(&self) -> Option<u32> {
        let tag = self.tag?;
        let digits = tag.split(['.', '-']).next()?;
        digits.parse().ok()
    }

    /// Returns whether the tag follows the newest release, as `dind` and `latest` do.
    #[must_use]
    pub fn is_newest(&self) -> bool {
        let first = self.tag.and_then(|tag| tag.split('-').next());
        matches!(first, None | Some("dind" | "latest" | "stable" | ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_tags() {
        for (image, major, newest) in [
            ("docker:27.3.1-dind", Some(27), false),
            ("docker:20.10-dind", Some(20), false),
            ("docker:dind", None, true),
            ("docker:dind-rootless", None, true),
            ("docker@sha256:00", None, true),
            ("docker:edge-dind", None, false),
        ] {
            let image = Image::parse(image);
            assert_eq!(
                (image.docker_major(), image.is_newest()),
                (major, newest),
                "{image:?}"
            );
        }
        assert!(Image::parse("docker:27-dind-rootless").is_rootless());
    }
}
