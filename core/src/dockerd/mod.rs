//! How a container starts dockerd: what its command line says, and whether more can be said.

use crate::pod::{Container, Str};

/// Programs that are dockerd, or exec it with the arguments they get.
const DOCKERD: [&str; 3] = ["dockerd", "dockerd-entrypoint.sh", "dockerd-rootless.sh"];
/// The name under which Slipway's start wrapper runs: `sh -c SCRIPT slipway-start OPTIONS -- …`.
pub const START: &str = "slipway-start";
const SHELLS: [&str; 4] = ["sh", "bash", "ash", "dash"];

/// Flags that may be given many times, with the short forms and the keys of daemon.json that say
/// the same.
const LIST_FLAGS: [&str; 7] = [
    "registry-mirror",
    "insecure-registry",
    "log-opt",
    "storage-opt",
    "host",
    "label",
    "dns",
];

/// The command line of a container, as far as dockerd is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine<'p> {
    /// dockerd with these arguments, which can be added to: the container's own, or none where
    /// the image's entrypoint starts dockerd.
    Arguments {
        /// In the order of the command line.
        words: Vec<&'p str>,
        /// Whether Slipway's start wrapper stands before dockerd.
        wrapped: bool,
    },
    /// A shell script, or something else that cannot be added to.
    Script(Vec<&'p str>),
}

/// An image reference, in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'p> {
    /// The name without registry, repository path, tag and digest.
    pub base: &'p str,
    /// The tag.
    pub tag: Option<&'p str>,
}

impl<'p> Image<'p> {
    /// The parts of `reference`: `[registry[:port]/][path/]base[:tag][@digest]`.
    #[must_use]
    pub fn parse(reference: &'p str) -> Self {
        let name = reference.split('@').next().unwrap_or_default();
        let last = name.rsplit('/').next().unwrap_or_default();
        match last.split_once(':') {
            Some((base, tag)) => Self {
                base,
                tag: Some(tag),
            },
            None => Self {
                base: last,
                tag: None,
            },
        }
    }

    /// Whether it is docker's image with a daemon, or one named like it: `…docker:…dind…`.
    #[must_use]
    pub fn is_dind(&self) -> bool {
        self.base.ends_with("docker") && self.tag.is_some_and(|tag| tag.contains("dind"))
    }

    /// Whether dockerd runs rootless in it, with its data-root in a home directory.
    #[must_use]
    pub fn is_rootless(&self) -> bool {
        self.base.contains("rootless") || self.tag.is_some_and(|tag| tag.contains("rootless"))
    }

    /// The major version of Docker that the tag names; `None` for moving tags.
    #[must_use]
    pub fn docker_major(&self) -> Option<u32> {
        let tag = self.tag?;
        let digits = tag.split(['.', '-']).next()?;
        digits.parse().ok()
    }

    /// Whether the tag follows the newest release, as `dind` and `latest` do.
    #[must_use]
    pub fn is_newest(&self) -> bool {
        let first = self.tag.and_then(|tag| tag.split('-').next());
        matches!(first, None | Some("dind" | "latest" | "stable" | ""))
    }
}

/// Whether the container runs dockerd, by its command line and image.
#[must_use]
pub fn runs_dockerd(container: &Container<'_>) -> bool {
    let image = container.image.as_deref().unwrap_or_default();
    let by_image = Image::parse(image).is_dind();
    let words = words(container);
    match words.first() {
        None => by_image,
        Some(first) if is_program(first, &DOCKERD) => true,
        Some(first) if first.starts_with('-') => by_image && no_command(container),
        Some(first) if is_program(first, &SHELLS) => {
            by_image && words.iter().any(|word| word.contains("dockerd"))
        }
        Some(_) => false,
    }
}

impl<'p> CommandLine<'p> {
    /// The command line of a container that runs dockerd.
    #[must_use]
    pub fn of(container: &'p Container<'_>) -> Self {
        let mut words = words(container);
        let wrapped = is_wrapped(container);
        match words.first() {
            None => {}
            Some(first) if is_program(first, &DOCKERD) => drop(words.remove(0)),
            Some(first) if first.starts_with('-') && no_command(container) => {}
            Some(_) => return Self::Script(words),
        }
        Self::Arguments { words, wrapped }
    }

    /// Whether Slipway's start wrapper stands before dockerd.
    #[must_use]
    pub fn is_wrapped(&self) -> bool {
        matches!(self, Self::Arguments { wrapped: true, .. })
    }

    /// Whether arguments can be added.
    #[must_use]
    pub fn can_grow(&self) -> bool {
        matches!(self, Self::Arguments { .. })
    }

    /// Whether all flags are in sight: arguments always are; a script only when its text starts
    /// dockerd itself, with no shell variable that could hold more.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        match self {
            Self::Arguments { words, .. } => !words.iter().any(|word| word.starts_with("$(")),
            Self::Script(words) => {
                let text = words.iter().find(|word| word.contains("dockerd "));
                // `$(NAME)` is the kubelet's own syntax, replaced by one word.
                text.is_some_and(|text| {
                    !text.contains('`')
                        && text.match_indices('$').all(|(at, _)| {
                            text.get(at + 1..).is_some_and(|rest| rest.starts_with('('))
                        })
                })
            }
        }
    }

    /// Whether there are words that are neither flags nor their values, which dockerd refuses: what
    /// such a line means when flags are taken out of it, nobody knows.
    #[must_use]
    pub fn has_operands(&self) -> bool {
        let Self::Arguments { words, .. } = self else {
            return false;
        };
        let mut rest = words.iter().peekable();
        while let Some(word) = rest.next() {
            match split_flag(word) {
                None => return true,
                Some((_, Some(_))) => {}
                Some((_, None)) => drop(rest.next_if(|next| !next.starts_with('-'))),
            }
        }
        false
    }

    /// The values of `--flag`, in order; an empty one for a flag without a value.
    #[must_use]
    pub fn values(&self, flag: &str) -> Vec<&'p str> {
        let Self::Arguments { words, .. } = self else {
            return Vec::new();
        };
        let mut values = Vec::new();
        let mut rest = words.iter().peekable();
        while let Some(word) = rest.next() {
            let Some((name, value)) = split_flag(word) else {
                continue;
            };
            if name != flag {
                continue;
            }
            values.push(match value {
                Some(value) => value,
                None => rest
                    .next_if(|next| !next.starts_with('-'))
                    .copied()
                    .unwrap_or_default(),
            });
        }
        values
    }

    /// Whether `--flag`, or a script's text that looks like it, is there.
    #[must_use]
    pub fn sets(&self, flag: &str) -> bool {
        match self {
            Self::Arguments { words, .. } => words
                .iter()
                .filter_map(|word| split_flag(word))
                .any(|(name, _)| name == flag),
            Self::Script(words) => words.iter().any(|text| mentions(text, flag)),
        }
    }

    /// Whether a key of daemon.json is set by flag already: dockerd refuses both.
    #[must_use]
    pub fn sets_key(&self, key: &str) -> bool {
        let singular = match key {
            "registry-mirrors" => "registry-mirror",
            "insecure-registries" => "insecure-registry",
            "log-opts" => "log-opt",
            "storage-opts" => "storage-opt",
            "hosts" => "host",
            "labels" => "label",
            "runtimes" => "add-runtime",
            "default-network-opts" => "default-network-opt",
            "default-ulimits" => "default-ulimit",
            "default-address-pools" => "default-address-pool",
            "dns-opts" => "dns-opt",
            "exec-opts" => "exec-opt",
            "authorization-plugins" => "authorization-plugin",
            "node-generic-resources" => "node-generic-resource",
            "cdi-spec-dirs" => "cdi-spec-dir",
            other => other,
        };
        if key == "proxies" {
            return ["http-proxy", "https-proxy", "no-proxy"]
                .iter()
                .any(|flag| self.sets(flag));
        }
        self.sets(singular)
    }
}

/// Whether `flag` adds to a list, so that its values stand side by side.
#[must_use]
pub fn is_list_flag(flag: &str) -> bool {
    LIST_FLAGS.contains(&flag)
}

/// `--name=value`, `--name` or dockerd's short forms as `(name, value)`.
#[must_use]
pub fn split_flag(word: &str) -> Option<(&str, Option<&str>)> {
    let long = word.strip_prefix("--");
    let (name, value) = match long.or_else(|| word.strip_prefix('-'))?.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long.or_else(|| word.strip_prefix('-'))?, None),
    };
    let name = match (long.is_some(), name) {
        (false, "H") => "host",
        (false, "G") => "group",
        (false, "D") => "debug",
        (false, "l") => "log-level",
        (false, "s") => "storage-driver",
        (false, "g") | (true, "graph") => "data-root",
        (_, name) => name,
    };
    (!name.is_empty()).then_some((name, value))
}

/// Whether a script's text names the flag, in any spelling.
fn mentions(text: &str, flag: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || "'\";&|()".contains(c))
        .filter_map(split_flag)
        .any(|(name, _)| name == flag)
}

/// The words that start dockerd, without Slipway's start wrapper before them.
fn words<'p>(container: &'p Container<'_>) -> Vec<&'p str> {
    let args = container.args.iter().flatten().map(Str::as_str);
    command(container).chain(args).collect()
}

/// The container's own `command`, without Slipway's start wrapper before it.
pub fn command<'p>(container: &'p Container<'_>) -> impl Iterator<Item = &'p str> {
    let words = container.command.as_deref().unwrap_or_default();
    let own = if is_wrapped(container) {
        let end = words.iter().position(|word| word.as_str() == "--");
        end.map_or(words.len(), |end| end + 1)
    } else {
        0
    };
    words.iter().skip(own).map(Str::as_str)
}

fn is_wrapped(container: &Container<'_>) -> bool {
    let words = container.command.as_deref().unwrap_or_default();
    matches!(words, [_, flag, _, name, ..] if flag.as_str() == "-c" && name.as_str() == START)
}

fn no_command(container: &Container<'_>) -> bool {
    command(container).next().is_none()
}

fn is_program(word: &str, programs: &[&str]) -> bool {
    word.rsplit('/')
        .next()
        .is_some_and(|base| programs.contains(&base))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with<T>(container: &serde_json::Value, look: impl FnOnce(&Container<'_>) -> T) -> T {
        let text = container.to_string();
        look(&serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn dockerd_is_told_by_image_or_command() {
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
            (json!({"name": "a"}), false),
        ] {
            assert_eq!(with(&container, runs_dockerd), expected, "{container}");
        }
    }

    #[test]
    fn flags_are_found_in_every_spelling() {
        let container = json!({"name": "a", "args": ["dockerd", "-H", "unix:///x", "--mtu", "1400",
            "--registry-mirror=https://a", "--registry-mirror", "https://b", "--debug", "-g=/data"]});
        with(&container, |container| {
            let line = CommandLine::of(container);
            assert!(line.can_grow());
            assert_eq!(line.values("mtu"), ["1400"]);
            assert_eq!(line.values("registry-mirror"), ["https://a", "https://b"]);
            assert_eq!(line.values("data-root"), ["/data"]);
            assert!(line.sets("host") && line.sets("debug") && !line.sets("log-opt"));
            assert!(line.sets_key("registry-mirrors") && line.sets_key("hosts"));
        });
    }

    #[test]
    fn words_that_belong_to_no_flag_are_operands() {
        for (args, operands) in [
            (
                json!(["dockerd", "--mtu", "1400", "--debug", "-H=x"]),
                false,
            ),
            (json!(["dockerd", "--mtu", "1400", "stray"]), true),
            (json!(["dockerd", "stray", "--debug"]), true),
            (json!(["dockerd"]), false),
        ] {
            let container = json!({"name": "a", "args": args});
            with(&container, |c| {
                assert_eq!(CommandLine::of(c).has_operands(), operands, "{args}");
            });
        }
    }

    #[test]
    fn a_script_cannot_grow_but_its_flags_are_seen() {
        let container = json!({"name": "a", "image": "docker:dind",
            "command": ["sh", "-c"], "args": ["dockerd --mtu 1400 -s vfs"]});
        with(&container, |container| {
            let line = CommandLine::of(container);
            assert!(!line.can_grow());
            assert!(line.sets("mtu") && line.sets("storage-driver") && !line.sets("storage"));
            assert!(line.is_readable());
        });
    }

    #[test]
    fn a_script_that_hides_its_flags_is_not_readable() {
        for command in [
            json!(["/start.sh"]),
            json!(["sh", "-c", "dockerd $OPTS"]),
            json!(["sh", "-c", "exec dockerd `cat /flags`"]),
            json!(["dockerd", "$(EXTRA)"]),
            json!(["sh", "-c", ". /flags && exec dockerd-entrypoint.sh"]),
        ] {
            let container = json!({"name": "a", "image": "docker:dind", "command": command});
            with(&container, |c| {
                assert!(!CommandLine::of(c).is_readable(), "{command}");
            });
        }
    }

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
