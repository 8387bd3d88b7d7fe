//! How a container starts dockerd: what its command line sets, and whether arguments can be added.

use super::{DOCKERD, StartWrapper, is_program};
use crate::pod::{Container, Str};

/// The program with which Argo Workflows runs the commands of its pods: `argoexec emissary [FLAG...] -- COMMAND`.
const ARGO_EXECUTOR: &str = "argoexec";

/// The command line of a container that runs dockerd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine<'p> {
    /// dockerd with these arguments, to which more can be added: the container's own, or none where
    /// the image's entrypoint starts dockerd.
    Arguments {
        /// In the order of the command line.
        words: Vec<&'p str>,
        /// Whether Slipway's start wrapper runs first.
        wrapped: bool,
    },
    /// A shell script, or something else that takes no more arguments.
    Script(Vec<&'p str>),
}

/// A word of the command line that is not a flag, or a flag with its value.
struct Argument<'w, 'p> {
    /// The one or two words.
    words: &'w [&'p str],
    /// The flag's name and its value, which is empty where there is none.
    flag: Option<(&'p str, &'p str)>,
}

impl<'p> CommandLine<'p> {
    /// Reads the command line of a container that runs dockerd.
    #[must_use]
    pub fn of(container: &'p Container<'_>) -> Self {
        let mut words = words(container);
        match words.first() {
            None => {}
            Some(first) if is_program(first, &DOCKERD) => drop(words.remove(0)),
            Some(first) if first.starts_with('-') && has_no_command(container) => {}
            Some(_) => return Self::Script(words),
        }
        let command = container.command.as_deref().unwrap_or_default();
        Self::Arguments {
            words,
            wrapped: StartWrapper::own_command(command).is_some(),
        }
    }

    /// Returns the command line of a dockerd without arguments.
    #[must_use]
    pub fn empty() -> Self {
        Self::Arguments {
            words: Vec::new(),
            wrapped: false,
        }
    }

    /// Returns whether Slipway's start wrapper runs first.
    #[must_use]
    pub fn is_wrapped(&self) -> bool {
        matches!(self, Self::Arguments { wrapped: true, .. })
    }

    /// Returns whether arguments can be added.
    #[must_use]
    pub fn can_grow(&self) -> bool {
        matches!(self, Self::Arguments { .. })
    }

    /// Returns whether all flags are visible. Arguments are, unless one comes from a variable; a
    /// script only where its text starts dockerd itself, without a shell variable that could hold
    /// more.
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

    /// Returns whether there are words that are neither flags nor their values. dockerd refuses
    /// those, so taking flags out of such a line could change what the rest means.
    #[must_use]
    pub fn has_operands(&self) -> bool {
        arguments(self.arguments()).any(|argument| argument.flag.is_none())
    }

    /// Returns the values of `--flag`, in order; an empty one for a flag without a value.
    #[must_use]
    pub fn values(&self, flag: &str) -> Vec<&'p str> {
        let flags = arguments(self.arguments()).filter_map(|argument| argument.flag);
        flags
            .filter(|(name, _)| *name == flag)
            .map(|(_, value)| value)
            .collect()
    }

    /// Returns whether `--flag` is set, or mentioned in a script's text.
    #[must_use]
    pub fn sets(&self, flag: &str) -> bool {
        match self {
            Self::Arguments { words, .. } => has_flag(words.iter().copied(), flag),
            Self::Script(words) => words.iter().any(|text| {
                has_flag(
                    text.split(|c: char| c.is_whitespace() || "'\";&|()".contains(c)),
                    flag,
                )
            }),
        }
    }

    /// Returns whether a flag sets what this key of daemon.json would: dockerd refuses both.
    #[must_use]
    pub fn sets_key(&self, key: &str) -> bool {
        let flag = match key {
            "proxies" => {
                return ["http-proxy", "https-proxy", "no-proxy"]
                    .iter()
                    .any(|flag| self.sets(flag));
            }
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
            same => same,
        };
        self.sets(flag)
    }

    fn arguments(&self) -> &[&'p str] {
        match self {
            Self::Arguments { words, .. } => words,
            Self::Script(_) => &[],
        }
    }
}

/// Returns the words of `command` and `args`, without the start wrapper and Argo's executor.
#[must_use]
pub fn words<'p>(container: &'p Container<'_>) -> Vec<&'p str> {
    let args = container.args.iter().flatten().map(Str::as_str);
    own_command(container).chain(args).collect()
}

/// Returns whether the container leaves its command to the image.
pub(super) fn has_no_command(container: &Container<'_>) -> bool {
    own_command(container).next().is_none()
}

/// Returns whether `--flag` is set in `command`, where changing `args` does not remove it.
#[must_use]
pub fn command_sets(container: &Container<'_>, flag: &str) -> bool {
    has_flag(own_command(container), flag)
}

/// Returns the arguments without these flags and their values.
#[must_use]
pub fn remove_flags<'p>(args: &[&'p str], flags: &[&str]) -> Vec<&'p str> {
    arguments(args)
        .filter(|argument| argument.flag.is_none_or(|(name, _)| !flags.contains(&name)))
        .flat_map(|argument| argument.words)
        .copied()
        .collect()
}

/// Returns the container's own `command`, without the start wrapper and Argo's executor, which run it.
fn own_command<'p>(container: &'p Container<'_>) -> impl Iterator<Item = &'p str> {
    let command = container.command.as_deref().unwrap_or_default();
    let own = StartWrapper::own_command(command).unwrap_or(command);
    let own = own.iter().map(Str::as_str);
    let is_executed = own
        .clone()
        .next()
        .is_some_and(|p| is_program(p, &[ARGO_EXECUTOR]));
    let executor = if is_executed {
        own.clone()
            .position(|word| word == "--")
            .map_or(0, |at| at + 1)
    } else {
        0
    };
    own.skip(executor)
}

/// Groups words into flags with their values, and words on their own.
fn arguments<'w, 'p>(words: &'w [&'p str]) -> impl Iterator<Item = Argument<'w, 'p>> {
    let mut rest = words;
    std::iter::from_fn(move || {
        let (flag, length) = match split_flag(rest.first()?) {
            None => (None, 1),
            Some((name, Some(value))) => (Some((name, value)), 1),
            Some((name, None)) => match rest.get(1) {
                Some(value) if !value.starts_with('-') => (Some((name, *value)), 2),
                _ => (Some((name, "")), 1),
            },
        };
        let (words, others) = rest.split_at(length);
        rest = others;
        Some(Argument { words, flag })
    })
}

fn has_flag<'w>(mut words: impl Iterator<Item = &'w str>, flag: &str) -> bool {
    words.any(|word| split_flag(word).is_some_and(|(name, _)| name == flag))
}

/// Splits `--name=value`, `--name` or one of dockerd's short forms into name and value.
fn split_flag(word: &str) -> Option<(&str, Option<&str>)> {
    let long = word.strip_prefix("--");
    let text = long.or_else(|| word.strip_prefix('-'))?;
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with<T>(container: &serde_json::Value, look: impl FnOnce(&Container<'_>) -> T) -> T {
        let text = container.to_string();
        look(&serde_json::from_str(&text).unwrap())
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
    fn flags_are_removed_with_their_values() {
        let args = [
            "dockerd",
            "--mtu",
            "1400",
            "-s=vfs",
            "--debug",
            "--mtu=1500",
            "--host",
            "-D",
        ];
        assert_eq!(
            remove_flags(&args, &["mtu", "storage-driver", "host"]),
            ["dockerd", "--debug", "-D"]
        );
    }
}
