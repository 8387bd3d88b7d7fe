//! dockerd as a pod runs it: its command line, its image, its settings, the start wrapper, which buildkitd has too.

mod buildkitd_start;
mod command_line;
mod image;
mod setting;
mod signs;
mod start_script;
mod start_wrapper;

pub use buildkitd_start::BuildkitdStart;
pub use command_line::{CommandLine, command_sets, remove_flags, words};
pub use image::Image;
pub use setting::{Setting, Settings};
pub use signs::{may_run_dockerd, starts_with_runner};
pub use start_script::StartScript;
pub use start_wrapper::{KeptRoot, MtuScope, Slots, StartOptions, StartWrapper};

use crate::pod::Container;

/// Programs that are dockerd, or exec it with the arguments they get.
const DOCKERD: [&str; 3] = ["dockerd", "dockerd-entrypoint.sh", "dockerd-rootless.sh"];
/// Programs that run another one as their child.
const INITS: [&str; 3] = ["tini", "dumb-init", "docker-init"];
const SHELLS: [&str; 4] = ["sh", "bash", "ash", "dash"];

/// Returns whether the container runs dockerd, by its command line and image.
#[must_use]
pub fn runs_dockerd(container: &Container<'_>) -> bool {
    let image = container.image.as_deref().unwrap_or_default();
    let image = Image::parse(image);
    let by_image = image.is_dind() || image.base.ends_with("dind");
    let words = words(container);
    match words.first() {
        None => by_image,
        Some(first) if is_program(first, &DOCKERD) => true,
        Some(first) if first.starts_with('-') => {
            by_image && command_line::has_no_command(container)
        }
        Some(first) if is_program(first, &SHELLS) => {
            by_image && words.iter().any(|word| word.contains("dockerd"))
        }
        Some(first) if is_program(first, &INITS) => {
            words.iter().any(|word| is_program(word, &DOCKERD))
        }
        Some(_) => false,
    }
}

/// Returns whether the word is one of the programs, with or without a path.
pub(crate) fn is_program(word: &str, programs: &[&str]) -> bool {
    word.rsplit('/')
        .next()
        .is_some_and(|base| programs.contains(&base))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dockerd_is_told_by_image_or_command() {
        let runs = |container: &serde_json::Value| {
            let text = container.to_string();
            runs_dockerd(&serde_json::from_str(&text).unwrap())
        };
        for (container, expected) in [
            (json!({"name": "a", "image": "docker:dind"}), true),
            (
                json!({"name": "a", "image": "reg.example:5000/x/docker:27.3-dind@sha256:00"}),
                true,
            ),
            (json!({"name": "a", "image": "docker:27-cli"}), false),
            (
                json!({"name": "a", "image": "docker:dind", "args": ["--mtu=1400"]}),
                true,
            ),
            (
                json!({"name": "a", "image": "x", "args": ["--mtu=1400"]}),
                false,
            ),
            (
                json!({"name": "a", "image": "x", "args": ["dockerd", "--mtu=1400"]}),
                true,
            ),
            (
                json!({"name": "a", "image": "x", "command": ["/usr/local/bin/dockerd-entrypoint.sh"]}),
                true,
            ),
            (
                json!({"name": "a", "image": "docker:dind", "command": ["sleep", "1d"]}),
                false,
            ),
            (
                json!({"name": "a", "image": "docker:dind", "command": ["sh", "-c", "exec dockerd"]}),
                true,
            ),
            (
                json!({"name": "a", "image": "docker:dind", "command": ["sh", "-c", "docker build ."]}),
                false,
            ),
            (
                json!({"name": "a", "image": "registry.example/dind:28.3"}),
                true,
            ),
            (
                json!({"name": "a", "image": "x", "command": ["/sbin/tini", "--", "dockerd"]}),
                true,
            ),
            (
                json!({"name": "a", "command": ["/var/run/argo/argoexec", "emissary", "--loglevel", "info", "--", "dockerd"]}),
                true,
            ),
            (
                json!({"name": "a", "image": "docker:dind", "command": ["argoexec", "emissary", "--", "sleep", "1d"]}),
                false,
            ),
            (json!({"name": "a"}), false),
        ] {
            assert_eq!(runs(&container), expected, "{container}");
        }
    }
}
