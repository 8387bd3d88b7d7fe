//! The start wrapper's command line: `sh -c SCRIPT slipway-start [OPTION...] -- PROGRAM [ARGUMENT...]`.
//!
//! The wrapper runs as the container's `command` and then execs dockerd. The script itself is in
//! [`crate::inject`]; here is what surrounds it, in one type that writes, parses and prints it.

use std::{borrow::Cow, fmt, ops::Deref};

/// The script's `$0`, by which a wrapped command is recognised.
pub(super) const NAME: &str = "slipway-start";
pub(super) const END_OF_OPTIONS: &str = "--";
/// What docker's image runs when a container has no command.
const IMAGE_ENTRYPOINT: &str = "dockerd-entrypoint.sh";

const MTU: &str = "mtu=auto";
const NETWORK_MTU: &str = "network-mtu=auto";
pub(super) const SLOTS: &str = "slots=";
const BUDGET: &str = "budget=";
pub(super) const CLAIM: &str = "claim";
const CONTAINERD: &str = "containerd=first";
const BUILDERS: &str = "builders=";

/// What the start wrapper does before dockerd starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartOptions<'p> {
    /// Which networks get the MTU of the pod's interface.
    pub mtu: Option<MtuScope>,
    /// The data-root, where one outlives the pod.
    pub kept_root: Option<KeptRoot>,
    /// Whether containerd is started before dockerd; with a kept data-root it always is.
    pub containerd_first: bool,
    /// The registries' part of `buildkitd.toml` for the builders that jobs create, which may be empty;
    /// `None` leaves these builders alone.
    pub builders: Option<Cow<'p, str>>,
}

/// A data-root that outlives the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptRoot {
    /// One of the node's slots.
    Slots(Slots),
    /// A claim on dockerd's usual data-root.
    Claim,
}

/// The networks that get the MTU of the pod's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MtuScope {
    /// dockerd's default bridge.
    Bridge,
    /// The default bridge, and the networks that jobs create.
    AllNetworks,
}

/// The slots below the slots directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// The number of slots.
    pub count: u8,
    /// The size in MB to which images and build cache of a slot are pruned; `None` for no pruning.
    pub budget_mb: Option<u64>,
}

impl<'p> StartOptions<'p> {
    /// Returns whether there is nothing to do, so that no wrapper is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn words(&self) -> impl Iterator<Item = Cow<'p, str>> + use<'_, 'p> {
        let all_networks = self.mtu == Some(MtuScope::AllNetworks);
        let slots = match self.kept_root {
            Some(KeptRoot::Slots(slots)) => Some(slots),
            Some(KeptRoot::Claim) | None => None,
        };
        let budget = slots.and_then(|slots| slots.budget_mb);
        let is_claim = self.kept_root == Some(KeptRoot::Claim);
        let builders = self.builders.as_ref();
        [
            self.mtu.map(|_| MTU.into()),
            all_networks.then(|| NETWORK_MTU.into()),
            slots.map(|slots| format!("{SLOTS}{}", slots.count).into()),
            budget.map(|mb| format!("{BUDGET}{mb}").into()),
            is_claim.then(|| CLAIM.into()),
            self.containerd_first.then(|| CONTAINERD.into()),
            builders.map(|config| format!("{BUILDERS}{config}").into()),
        ]
        .into_iter()
        .flatten()
    }

    /// Reads options; those of other versions are skipped.
    fn parse(words: impl Iterator<Item = &'p str>) -> Self {
        let mut options = Self::default();
        let (mut count, mut budget_mb) = (None, None);
        for word in words {
            if let Some(number) = word.strip_prefix(SLOTS) {
                count = number.parse().ok();
            } else if let Some(mb) = word.strip_prefix(BUDGET) {
                budget_mb = mb.parse().ok();
            } else if let Some(config) = word.strip_prefix(BUILDERS) {
                options.builders = Some(config.into());
            }
            match word {
                MTU => options.mtu = options.mtu.or(Some(MtuScope::Bridge)),
                NETWORK_MTU => options.mtu = Some(MtuScope::AllNetworks),
                CLAIM => options.kept_root = Some(KeptRoot::Claim),
                CONTAINERD => options.containerd_first = true,
                _ => {}
            }
        }
        if let Some(count) = count {
            options.kept_root = Some(KeptRoot::Slots(Slots { count, budget_mb }));
        }
        options
    }
}

/// Prints the options on one line; of the builders' configuration only that there is one.
impl fmt::Display for StartOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words().map(|word| match word.strip_prefix(BUILDERS) {
            Some("") => "builders".into(),
            Some(_) => "builders=mirrors".into(),
            None => word,
        });
        let words: Vec<_> = words.collect();
        f.write_str(&words.join(" "))
    }
}

/// A container's `command` with the start wrapper in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartWrapper<'p> {
    script: &'p str,
    options: StartOptions<'p>,
    command: Vec<Cow<'p, str>>,
}

impl<'p> StartWrapper<'p> {
    /// Wraps a container's own `command`, or the entrypoint of docker's image where it has none.
    pub fn new<'c>(
        script: &'p str,
        options: StartOptions<'p>,
        own: impl IntoIterator<Item = &'c str>,
    ) -> Self {
        let own = own.into_iter().map(|word| Cow::Owned(word.to_owned()));
        let mut command: Vec<_> = own.collect();
        if command.is_empty() {
            command.push(IMAGE_ENTRYPOINT.into());
        }
        Self {
            script,
            options,
            command,
        }
    }

    /// Parses a `command` that this version or another one wrote; `None` where it is not wrapped.
    #[must_use]
    pub fn parse<T: Deref<Target = str>>(command: &'p [T]) -> Option<Self> {
        let (script, options, own) = split(command)?;
        Some(Self {
            script,
            options: StartOptions::parse(options.iter().map(Deref::deref)),
            command: own.iter().map(|word| Cow::Borrowed(&**word)).collect(),
        })
    }

    /// Returns the container's own part of a wrapped `command`; `None` where it is not wrapped.
    #[must_use]
    pub fn own_command<T: Deref<Target = str>>(command: &[T]) -> Option<&[T]> {
        split(command).map(|(_, _, own)| own)
    }

    /// Writes all of the `command`.
    #[must_use]
    pub fn words(&self) -> Vec<Cow<'p, str>> {
        let head = ["sh", "-c", self.script, NAME].map(Cow::Borrowed);
        let own = self.command.iter().cloned();
        head.into_iter()
            .chain(self.options.words())
            .chain([END_OF_OPTIONS.into()])
            .chain(own)
            .collect()
    }
}

/// Splits a wrapped `command` into the script, its options, and the container's own command.
fn split<T: Deref<Target = str>>(command: &[T]) -> Option<(&str, &[T], &[T])> {
    let [_, flag, script, name, rest @ ..] = command else {
        return None;
    };
    if **flag != *"-c" || **name != *NAME {
        return None;
    }
    let mut parts = rest.splitn(2, |word| **word == *END_OF_OPTIONS);
    let options = parts.next().unwrap_or_default();
    Some((script, options, parts.next().unwrap_or_default()))
}

/// Prints the options: the script is long, and the same for all.
impl fmt::Display for StartWrapper<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "start wrapper {}", self.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: KeptRoot = KeptRoot::Slots(Slots {
        count: 4,
        budget_mb: Some(10_000),
    });

    /// Returns all combinations of options.
    fn all() -> Vec<StartOptions<'static>> {
        let budgetless = KeptRoot::Slots(Slots {
            count: 1,
            budget_mb: None,
        });
        let mut all = Vec::new();
        for mtu in [None, Some(MtuScope::Bridge), Some(MtuScope::AllNetworks)] {
            for kept_root in [None, Some(budgetless), Some(SLOTS), Some(KeptRoot::Claim)] {
                for containerd_first in [false, true] {
                    for builders in [None, Some(""), Some("[registry.\"docker.io\"]\n")] {
                        all.push(StartOptions {
                            mtu,
                            kept_root,
                            containerd_first,
                            builders: builders.map(Cow::from),
                        });
                    }
                }
            }
        }
        all
    }

    #[test]
    fn what_is_written_is_parsed_back() {
        for options in all() {
            let wrapper = StartWrapper::new("true", options, ["dockerd", "--", "-D"]);
            assert_eq!(StartWrapper::parse(&wrapper.words()), Some(wrapper.clone()));
        }
    }

    #[test]
    fn a_container_without_a_command_gets_the_images_entrypoint() {
        let options = StartOptions {
            mtu: Some(MtuScope::AllNetworks),
            kept_root: Some(SLOTS),
            containerd_first: true,
            builders: Some("a = 1".into()),
        };
        let wrapper = StartWrapper::new("true", options, []);
        assert_eq!(
            wrapper.words().join(" "),
            "sh -c true slipway-start mtu=auto network-mtu=auto slots=4 budget=10000 \
             containerd=first builders=a = 1 -- dockerd-entrypoint.sh"
        );
        assert_eq!(
            wrapper.to_string(),
            "start wrapper mtu=auto network-mtu=auto slots=4 budget=10000 containerd=first builders=mirrors"
        );
    }

    #[test]
    fn wrappers_of_other_versions_are_recognised() {
        let newer = [
            "/bin/sh",
            "-c",
            "other",
            "slipway-start",
            "status=json",
            "slots=2",
            "--",
            "dockerd",
        ];
        assert_eq!(
            StartWrapper::parse(&newer)
                .map(|wrapper| wrapper.to_string())
                .as_deref(),
            Some("start wrapper slots=2")
        );
        assert_eq!(StartWrapper::own_command(&newer), Some(&["dockerd"][..]));
        let cut_off = ["sh", "-c", "", "slipway-start", "slots=x"];
        assert_eq!(StartWrapper::own_command(&cut_off), Some(&[][..]));
        for own in [
            ["sh", "-c", "exec dockerd", "dockerd"],
            ["sh", "script", "x", NAME],
        ] {
            assert_eq!(StartWrapper::parse(&own), None, "{own:?}");
        }
    }
}
