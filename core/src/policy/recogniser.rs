//! How a CI system's runner pods look: data, not code, so that a policy can add systems.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::Glob;

/// A CI system: how its runner pods are told, and which container plays which role.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recogniser {
    /// The system's name, as decisions and metrics show it.
    pub name: String,
    /// Whether it is looked for.
    #[serde(default = "yes")]
    pub enabled: bool,
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
    /// Whether it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.env.is_empty() && self.image.is_none()
    }
}

fn yes() -> bool {
    true
}

/// A built-in recogniser, as a constant.
struct BuiltIn {
    name: &'static str,
    enabled: bool,
    /// Each inner list is one mark: labels with their values, `None` for any value.
    labels: &'static [&'static [(&'static str, Option<&'static str>)]],
    image: Option<&'static str>,
    none_of: &'static [&'static str],
    runner: &'static [&'static str],
    helpers: &'static [&'static str],
    dockerd: &'static [&'static str],
}

const BUILT_IN: [BuiltIn; 8] = [
    BuiltIn {
        name: "arc-scale-set",
        enabled: true,
        labels: &[
            &[("actions-ephemeral-runner", Some("True"))],
            &[
                ("actions.github.com/scale-set-name", None),
                ("app.kubernetes.io/component", Some("runner")),
            ],
        ],
        image: None,
        none_of: &[],
        runner: &["runner"],
        helpers: &[],
        dockerd: &["dind"],
    },
    BuiltIn {
        name: "arc-legacy",
        enabled: true,
        labels: &[
            &[("actions-runner", Some(""))],
            &[(
                "actions-runner-controller/inject-registration-token",
                Some("true"),
            )],
            &[("runner-deployment-name", None)],
            &[("runnerset-name", None)],
        ],
        image: None,
        none_of: &[],
        runner: &["runner"],
        helpers: &[],
        dockerd: &["docker"],
    },
    BuiltIn {
        name: "gitlab",
        enabled: true,
        labels: &[
            &[("manager.runner.gitlab.com/id-short", None)],
            &[("job.runner.gitlab.com/pod", None)],
        ],
        image: None,
        none_of: &["runner.gitlab.com/pause-pod"],
        runner: &["build"],
        helpers: &["helper"],
        dockerd: &[],
    },
    BuiltIn {
        name: "buildkite",
        enabled: true,
        labels: &[&[("buildkite.com/job-uuid", None)]],
        image: None,
        none_of: &[],
        runner: &["container-*"],
        helpers: &["agent", "checkout"],
        dockerd: &[],
    },
    BuiltIn {
        name: "jenkins",
        enabled: true,
        labels: &[&[("jenkins/label", None)], &[("jenkins", Some("slave"))]],
        image: None,
        none_of: &[],
        runner: &["*"],
        helpers: &["jnlp"],
        dockerd: &[],
    },
    BuiltIn {
        name: "woodpecker",
        enabled: false,
        labels: &[&[("woodpecker-ci.org/repo-id", None)]],
        image: None,
        none_of: &[],
        runner: &["*"],
        helpers: &[],
        dockerd: &[],
    },
    BuiltIn {
        name: "tekton",
        enabled: false,
        labels: &[&[("tekton.dev/taskRun", None)]],
        image: None,
        none_of: &[],
        runner: &["step-*"],
        helpers: &[],
        dockerd: &[],
    },
    BuiltIn {
        name: "act-runner",
        enabled: false,
        labels: &[],
        image: Some("*gitea/act_runner:*"),
        none_of: &[],
        runner: &["runner", "act-runner"],
        helpers: &[],
        dockerd: &["daemon"],
    },
];

impl BuiltIn {
    fn recogniser(&self) -> Recogniser {
        let globs = |names: &[&str]| names.iter().map(|name| Glob::new(name)).collect();
        let by_label = self.labels.iter().map(|labels| Mark {
            labels: labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned)))
                .collect(),
            ..Mark::default()
        });
        let by_image = self.image.map(|image| Mark {
            image: Some(Glob::new(image)),
            ..Mark::default()
        });
        let without = self.none_of.iter().map(|label| Mark {
            labels: [((*label).to_owned(), None)].into(),
            ..Mark::default()
        });
        Recogniser {
            name: self.name.to_owned(),
            enabled: self.enabled,
            any_of: by_label.chain(by_image).collect(),
            none_of: without.collect(),
            runner_containers: globs(self.runner),
            helper_containers: globs(self.helpers),
            dockerd_containers: globs(self.dockerd),
        }
    }
}

impl Recogniser {
    /// The built-in systems, switched as they are where the policy says nothing.
    pub fn built_in() -> impl Iterator<Item = Self> {
        BUILT_IN.iter().map(BuiltIn::recogniser)
    }
}

/// Whether a system of this name is built in.
pub(super) fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|built_in| built_in.name == name)
}

/// The recognisers to use: the built-in ones as the policy changes them, then the policy's own.
pub(super) fn in_force(own: &[Recogniser]) -> Vec<Recogniser> {
    let built_in =
        BUILT_IN.iter().map(
            |built_in| match own.iter().find(|rule| rule.name == built_in.name) {
                Some(rule) if rule.any_of.is_empty() => Recogniser {
                    enabled: rule.enabled,
                    ..built_in.recogniser()
                },
                Some(rule) => rule.clone(),
                None => built_in.recogniser(),
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
    use super::super::Policy;

    fn names(yaml: &str) -> Vec<String> {
        let policy = Policy::parse(yaml).unwrap();
        policy
            .recognisers()
            .iter()
            .map(|r| r.name.clone())
            .collect()
    }

    #[test]
    fn systems_that_need_asking_are_off_by_default() {
        assert_eq!(
            names("{}"),
            [
                "arc-scale-set",
                "arc-legacy",
                "gitlab",
                "buildkite",
                "jenkins"
            ]
        );
    }

    #[test]
    fn a_policy_switches_built_in_systems_and_adds_its_own() {
        let names = names(
            "recognisers:\n- {name: jenkins, enabled: false}\n- {name: tekton}\n\
             - {name: mine, anyOf: [{labels: {ci: null}}], runnerContainers: [main]}\n",
        );
        assert_eq!(
            names,
            [
                "arc-scale-set",
                "arc-legacy",
                "gitlab",
                "buildkite",
                "tekton",
                "mine"
            ]
        );
    }
}
