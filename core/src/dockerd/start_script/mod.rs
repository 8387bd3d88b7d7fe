//! The start scripts: shell parts, put together as the options need them.
//!
//! To add a part: its file, a variant of [`Part`] and when it is needed, and its lines in `main.sh`.

use std::sync::LazyLock;

use strum::VariantArray;

use super::{BuildkitdStart, KeptRoot, StartOptions};

/// What a script can hold beside `main.sh` or `buildkitd.sh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
enum Part {
    Mtu,
    Kept,
    Slots,
    Claim,
    Containerd,
    Builders,
    State,
    StateClaim,
}

/// The daemon that a script starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Daemon {
    Dockerd,
    Buildkitd,
}

impl Daemon {
    /// Returns the script's last part, with marked lines.
    fn main(self) -> &'static str {
        match self {
            Self::Dockerd => include_str!("main.sh"),
            Self::Buildkitd => include_str!("buildkitd.sh"),
        }
    }
}

impl Part {
    /// Returns the name by which lines of a [`Daemon::main`] are marked.
    fn name(self) -> &'static str {
        self.into()
    }

    fn source(self) -> &'static [&'static str] {
        match self {
            Self::Mtu => &[include_str!("mtu.sh")],
            Self::Kept => &[
                include_str!("kept.sh"),
                include_str!("data_root.sh"),
                include_str!("containerd.sh"),
                include_str!("clean.sh"),
                include_str!("disk.sh"),
                include_str!("beside.sh"),
            ],
            Self::Slots => &[include_str!("slots.sh")],
            Self::Claim => &[include_str!("claim.sh")],
            Self::Containerd => &[include_str!("containerd.sh")],
            Self::Builders => &[include_str!("builders.sh")],
            Self::State => &[
                include_str!("kept.sh"),
                include_str!("disk.sh"),
                include_str!("state.sh"),
            ],
            Self::StateClaim => &[include_str!("state_claim.sh")],
        }
    }
}

/// A set of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts(u16);

impl Parts {
    /// Returns the parts that these options need. A kept data-root brings a containerd with it.
    fn needed(options: &StartOptions<'_>) -> Self {
        let kept = options.kept_root;
        Self::of(&[
            (Part::Mtu, options.mtu.is_some()),
            (Part::Kept, kept.is_some()),
            (Part::Slots, matches!(kept, Some(KeptRoot::Slots(_)))),
            (Part::Claim, kept == Some(KeptRoot::Claim)),
            (Part::Containerd, options.containerd_first && kept.is_none()),
            (Part::Builders, options.builders.is_some()),
        ])
    }

    /// Returns the parts that buildkitd needs.
    fn needed_by_buildkitd(start: BuildkitdStart) -> Self {
        let kept = start.kept_root;
        Self::of(&[
            (Part::State, kept.is_some()),
            (Part::Slots, matches!(kept, Some(KeptRoot::Slots(_)))),
            (Part::StateClaim, kept == Some(KeptRoot::Claim)),
        ])
    }

    fn of(parts: &[(Part, bool)]) -> Self {
        let needed = parts.iter().filter(|(_, needed)| *needed);
        Self(needed.map(|(part, _)| 1 << *part as u16).sum())
    }

    fn has(self, part: Part) -> bool {
        self.0 & (1 << part as u16) != 0
    }
}

/// One for each set of parts that options can need.
static SCRIPTS: LazyLock<Vec<StartScript>> = LazyLock::new(|| {
    let mut scripts = Vec::new();
    for mtu in [false, true] {
        for builders in [false, true] {
            for root in [
                None,
                Some(Part::Slots),
                Some(Part::Claim),
                Some(Part::Containerd),
            ] {
                let is_kept = matches!(root, Some(Part::Slots | Part::Claim));
                let mut parts = vec![
                    (Part::Mtu, mtu),
                    (Part::Builders, builders),
                    (Part::Kept, is_kept),
                ];
                parts.extend(root.map(|part| (part, true)));
                scripts.push(StartScript::of(Daemon::Dockerd, Parts::of(&parts)));
            }
        }
    }
    for root in [None, Some(Part::Slots), Some(Part::StateClaim)] {
        let mut parts = vec![(Part::State, root.is_some())];
        parts.extend(root.map(|part| (part, true)));
        scripts.push(StartScript::of(Daemon::Buildkitd, Parts::of(&parts)));
    }
    scripts
});

/// A start script. There are few, each made once, so what is derived from one can be kept.
#[derive(Debug)]
pub struct StartScript {
    daemon: Daemon,
    parts: Parts,
    text: String,
}

impl StartScript {
    /// Returns the script that these options need.
    #[must_use]
    pub fn for_options(options: &StartOptions<'_>) -> &'static str {
        Self::find(Daemon::Dockerd, Parts::needed(options))
    }

    /// Returns the script that starts buildkitd so.
    #[must_use]
    pub fn for_buildkitd(start: BuildkitdStart) -> &'static str {
        Self::find(Daemon::Buildkitd, Parts::needed_by_buildkitd(start))
    }

    fn find(daemon: Daemon, parts: Parts) -> &'static str {
        let mut scripts = SCRIPTS.iter();
        let script = scripts.find(|script| script.daemon == daemon && script.parts == parts);
        script.map_or("", Self::text)
    }

    /// Returns all scripts.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &SCRIPTS
    }

    /// Returns its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Puts the parts together: functions first, then what calls them.
    fn of(daemon: Daemon, parts: Parts) -> Self {
        let mut text = String::new();
        let functions = Part::VARIANTS.iter().filter(|part| parts.has(**part));
        for source in functions.flat_map(|part| part.source()) {
            source.lines().for_each(|line| push_line(&mut text, line));
        }
        for line in daemon.main().lines() {
            match line.split_once(MARK) {
                Some((line, name)) => {
                    let marked = Part::VARIANTS.iter().find(|part| part.name() == name);
                    if marked.is_some_and(|part| parts.has(*part)) {
                        push_line(&mut text, line);
                    }
                }
                None => push_line(&mut text, line),
            }
        }
        Self {
            daemon,
            parts,
            text,
        }
    }
}

/// Marks a line of a [`Daemon::main`] as one of a part.
const MARK: &str = " # only: ";
/// The line of `builders.sh` in whose place the runtime wrapper comes.
const RUNTIME_WRAPPER: &str = "# insert: runc.sh";

/// Appends a line as the pod gets it: without the comments that are for the script's readers, and
/// indented by one space for each four.
fn push_line(text: &mut String, line: &str) {
    if line == RUNTIME_WRAPPER {
        let wrapper = include_str!("runc.sh").lines();
        return wrapper.for_each(|line| push_line(text, line));
    }
    let code = line.trim_start_matches(' ');
    if code.is_empty() || code.starts_with('#') {
        return;
    }
    let depth = (line.len() - code.len()) / 4;
    text.extend(std::iter::repeat_n(' ', depth));
    text.push_str(code);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::dockerd::{MtuScope, Slots};

    const DEFAULT: StartOptions<'_> = StartOptions {
        mtu: None,
        kept_root: Some(KeptRoot::Slots(Slots {
            count: 4,
            budget_mb: Some(10_000),
        })),
        containerd_first: false,
        builders: Some(Cow::Borrowed("")),
    };
    const ONLY_MTU: StartOptions<'_> = StartOptions {
        mtu: Some(MtuScope::AllNetworks),
        kept_root: None,
        containerd_first: false,
        builders: None,
    };

    #[test]
    fn a_pod_carries_no_more_than_it_needs() {
        let (default, mtu) = (
            StartScript::for_options(&DEFAULT).len(),
            StartScript::for_options(&ONLY_MTU).len(),
        );
        assert!(default <= 13_312, "{default} bytes");
        assert!(mtu <= 2_000, "{mtu} bytes");
        assert!(!StartScript::for_options(&ONLY_MTU).contains("containerd.toml"));
    }

    #[test]
    fn every_mark_names_a_part() {
        let marks = [Daemon::Dockerd, Daemon::Buildkitd].map(Daemon::main);
        let marks = marks.iter().flat_map(|main| main.lines());
        for name in marks.filter_map(|line| Some(line.split_once("# only: ")?.1)) {
            assert!(
                Part::VARIANTS.iter().any(|part| part.name() == name),
                "{name}"
            );
        }
    }

    /// The kubelet replaces `$(NAME)` where NAME is a variable, and `$$` by `$`.
    #[test]
    fn the_kubelet_leaves_scripts_as_they_are() {
        for script in StartScript::all().iter().map(StartScript::text) {
            assert!(!script.contains("$$"));
            for part in script.split("$(").skip(1) {
                let name = part.split(')').next().unwrap_or_default();
                // Any word can be a variable's name.
                let of_a_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
                assert!(name.is_empty() || !name.chars().all(of_a_name), "{name}");
            }
        }
    }

    #[test]
    fn there_is_a_script_for_every_start_of_buildkitd() {
        for kept_root in [None, DEFAULT.kept_root, Some(KeptRoot::Claim)] {
            let start = BuildkitdStart {
                kept_root,
                shares_builder: true,
            };
            let script = StartScript::for_buildkitd(start);
            assert!(script.contains("buildkitd"), "{start:?}");
            assert_eq!(script.contains("prepare()"), kept_root.is_some());
            assert!(script.len() <= 6_000, "{} bytes", script.len());
            assert!(!script.contains("containerd --config"));
        }
    }

    #[test]
    fn there_is_a_script_for_all_options() {
        let slots = DEFAULT.kept_root;
        for mtu in [None, Some(MtuScope::Bridge)] {
            for kept_root in [None, slots, Some(KeptRoot::Claim)] {
                for containerd_first in [false, true] {
                    for builders in [None, Some("".into())] {
                        let options = StartOptions {
                            mtu,
                            kept_root,
                            containerd_first,
                            builders,
                        };
                        assert!(
                            !StartScript::for_options(&options).is_empty(),
                            "{options:?}"
                        );
                    }
                }
            }
        }
    }
}
