//! The start scripts: shell parts, put together as the options need them.
//!
//! To add a part: its file, a variant of [`Part`] and when it is needed, and its lines in `main.sh`.

use std::sync::LazyLock;

use super::StartOptions;

/// What a script can hold beside `main.sh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Mtu,
    Slots,
    Containerd,
}

impl Part {
    const ALL: [Self; 3] = [Self::Mtu, Self::Slots, Self::Containerd];

    /// Returns the name by which lines of `main.sh` are marked.
    fn name(self) -> &'static str {
        match self {
            Self::Mtu => "mtu",
            Self::Slots => "slots",
            Self::Containerd => "containerd",
        }
    }

    fn source(self) -> &'static [&'static str] {
        match self {
            Self::Mtu => &[include_str!("mtu.sh")],
            Self::Slots => &[
                include_str!("slots.sh"),
                include_str!("clean.sh"),
                include_str!("beside.sh"),
            ],
            Self::Containerd => &[include_str!("containerd.sh")],
        }
    }

    fn is_needed(self, options: StartOptions) -> bool {
        match self {
            Self::Mtu => options.mtu.is_some(),
            Self::Slots => options.slots.is_some(),
            Self::Containerd => options.containerd_first,
        }
    }

    /// Returns the part's bit in the number of a script.
    fn bit(self) -> usize {
        1 << self as usize
    }
}

/// One for each set of parts, in the order of their numbers.
static SCRIPTS: LazyLock<Vec<StartScript>> = LazyLock::new(|| {
    let numbers = 0..1 << Part::ALL.len();
    numbers
        .map(|number| StartScript::of(|part| number & part.bit() != 0))
        .collect()
});

/// A start script. There are few, each made once, so what is derived from one can be kept.
#[derive(Debug)]
pub struct StartScript {
    text: String,
}

impl StartScript {
    /// Returns the script that these options need.
    #[must_use]
    pub fn for_options(options: StartOptions) -> &'static str {
        let needed = Part::ALL.into_iter().filter(|part| part.is_needed(options));
        let number = needed.map(Part::bit).sum::<usize>();
        SCRIPTS.get(number).map_or("", Self::text)
    }

    /// Returns all scripts that there are.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &SCRIPTS
    }

    /// Returns its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Puts the parts together: functions first, then `main.sh`.
    fn of(has: impl Fn(Part) -> bool) -> Self {
        let mut text = String::new();
        let functions = Part::ALL.into_iter().filter(|part| has(*part));
        for source in functions.flat_map(Part::source) {
            source.lines().for_each(|line| push_line(&mut text, line));
        }
        for line in include_str!("main.sh").lines() {
            match line.split_once(" # only: ") {
                Some((line, name)) => {
                    if Part::ALL
                        .iter()
                        .any(|part| part.name() == name && has(*part))
                    {
                        push_line(&mut text, line);
                    }
                }
                None => push_line(&mut text, line),
            }
        }
        Self { text }
    }
}

/// Appends a line as the pod gets it: without the comments that are for the script's readers, and
/// indented by one space for each four.
fn push_line(text: &mut String, line: &str) {
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
    use super::*;
    use crate::dockerd::{MtuScope, Slots};

    const DEFAULT: StartOptions = StartOptions {
        mtu: None,
        slots: Some(Slots {
            count: 4,
            budget_mb: Some(10_000),
        }),
        containerd_first: false,
    };
    const ONLY_MTU: StartOptions = StartOptions {
        mtu: Some(MtuScope::AllNetworks),
        slots: None,
        containerd_first: false,
    };

    #[test]
    fn a_pod_carries_no_more_than_it_needs() {
        let (default, mtu) = (
            StartScript::for_options(DEFAULT).len(),
            StartScript::for_options(ONLY_MTU).len(),
        );
        assert!(default <= 6_000, "{default} bytes");
        assert!(mtu <= 2_000, "{mtu} bytes");
        assert!(!StartScript::for_options(DEFAULT).contains("containerd.toml"));
    }

    #[test]
    fn every_mark_names_a_part() {
        let marks = include_str!("main.sh").lines();
        for name in marks.filter_map(|line| Some(line.split_once("# only: ")?.1)) {
            assert!(Part::ALL.iter().any(|part| part.name() == name), "{name}");
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
}
