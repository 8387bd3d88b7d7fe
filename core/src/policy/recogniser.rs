//! How the runner pods of a CI system look. It is data, so that a policy can add systems.

mod built_in;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::Glob;
use built_in::{BUILT_IN, BuiltIn};

/// A CI system: how its runner pods look, and which container plays which role.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recogniser {
    /// The system's name, as decisions and metrics show it.
    pub name: String,
    /// Whether it is looked for.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether its pods get no host socket before the policy names the system.
    #[serde(skip)]
    pub(crate) withholds_sockets: bool,
    /// Any of these marks makes a pod a runner pod. May be left out to switch a built-in system.
    #[serde(default)]
    pub any_of: Vec<Mark>,
    /// Any of these marks makes it none.
    #[serde(default)]
    pub none_of: Vec<Mark>,
    /// The containers in which jobs run.
    #[serde(default)]
    pub runner_containers: Vec<Glob>,
    /// Containers that are the runner only when no other is.
    #[serde(default)]
    pub helper_containers: Vec<Glob>,
    /// Containers in which dockerd runs, by name; others are found by image and command.
    #[serde(default)]
    pub dockerd_containers: Vec<Glob>,
}

/// A mark of a pod: everything that is named must be there.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mark {
    /// Labels and their values; `null` for any value.
    pub labels: BTreeMap<String, Option<String>>,
    /// Variables of some container and their values; `null` for any value.
    pub env: BTreeMap<String, Option<String>>,
    /// An image of some container.
    pub image: Option<Glob>,
}

impl Mark {
    /// Returns whether the mark names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.env.is_empty() && self.image.is_none()
    }
}

fn yes() -> bool {
    true
}

impl Recogniser {
    /// Returns whether jobs may run in a container of any name.
    pub(crate) fn any_container(&self) -> bool {
        let any = Glob::new("*");
        self.runner_containers.contains(&any)
    }

    /// Iterates over the built-in systems.
    pub fn built_in() -> impl Iterator<Item = Self> {
        BUILT_IN.iter().map(BuiltIn::to_recogniser)
    }
}

/// Returns whether a system of this name is built in.
pub(super) fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|built_in| built_in.name == name)
}

/// Returns the recognisers to use: the built-in ones as the policy changes them, then those that it adds.
pub(super) fn in_force(own: &[Recogniser]) -> Vec<Recogniser> {
    let built_in =
        BUILT_IN.iter().map(
            |built_in| match own.iter().find(|rule| rule.name == built_in.name) {
                Some(rule) if rule.any_of.is_empty() => Recogniser {
                    enabled: rule.enabled,
                    withholds_sockets: false,
                    ..built_in.to_recogniser()
                },
                Some(rule) => rule.clone(),
                None => built_in.to_recogniser(),
            },
        );
    let added = own.iter().filter(|rule| !is_built_in(&rule.name)).cloned();
    built_in
        .chain(added)
        .filter(|recogniser| recogniser.enabled)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::Policy, Recogniser};

    fn names(yaml: &str) -> Vec<String> {
        let policy = Policy::parse(yaml).unwrap();
        policy
            .recognisers()
            .iter()
            .map(|r| r.name.clone())
            .collect()
    }

    #[test]
    fn every_built_in_system_is_on_by_default() {
        let built_in: Vec<String> = Recogniser::built_in().map(|r| r.name).collect();
        assert_eq!(names("{}"), built_in);
    }

    #[test]
    fn a_system_that_the_policy_names_gets_its_sockets() {
        let withholds = |yaml: &str| {
            let policy = Policy::parse(yaml).unwrap();
            (
                policy.withholds_sockets("tekton"),
                policy.withholds_sockets("gitlab"),
            )
        };
        assert_eq!(withholds("{}"), (true, false));
        assert_eq!(withholds("recognisers: [{name: tekton}]"), (false, false));
        assert_eq!(withholds("recognisers: [{name: garm}]"), (true, false));
        let replaced =
            "recognisers: [{name: tekton, anyOf: [{labels: {a: null}}], runnerContainers: [a]}]";
        assert_eq!(withholds(replaced), (false, false));
    }

    #[test]
    fn a_policy_switches_built_in_systems_and_adds_its_own() {
        let names = names(
            "recognisers:\n- {name: jenkins, enabled: false}\n\
             - {name: mine, anyOf: [{labels: {ci: null}}], runnerContainers: [main]}\n",
        );
        assert!(!names.contains(&"jenkins".to_owned()));
        assert_eq!(names.last().map(String::as_str), Some("mine"));
    }
}
