//! The built-in CI systems. One entry is one system: adding a system is adding an entry.

use super::{Mark, Recogniser};
use crate::policy::values::Glob;

/// A built-in recogniser, as a constant. A field that an entry leaves out is that of [`BuiltIn::EMPTY`].
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    withholds_sockets: bool,
    any_of: &'static [Look],
    none_of: &'static [Look],
    runner: &'static [&'static str],
    helpers: &'static [&'static str],
    dockerd: &'static [&'static str],
}

/// One mark of a pod.
enum Look {
    /// All of these labels.
    Labels(&'static [(&'static str, Value)]),
    /// All of these variables, each of some container.
    Variables(&'static [&'static str]),
    /// A container with an image like this one.
    Image(&'static str),
}

/// The value of a label.
enum Value {
    Any,
    Is(&'static str),
}

use Look::{Image, Labels, Variables};
use Value::{Any, Is};

/// The systems, in the order in which they are tried.
pub(super) const BUILT_IN: [BuiltIn; 14] = [
    BuiltIn {
        name: "arc-scale-set",
        any_of: &[
            Labels(&[("actions-ephemeral-runner", Is("True"))]),
            Labels(&[
                ("actions.github.com/scale-set-name", Any),
                ("app.kubernetes.io/component", Is("runner")),
            ]),
        ],
        runner: &["runner"],
        dockerd: &["dind"],
        ..BuiltIn::EMPTY
    },
    BuiltIn {
        name: "arc-legacy",
        any_of: &[
            Labels(&[("actions-runner", Is(""))]),
            Labels(&[(
                "actions-runner-controller/inject-registration-token",
                Is("true"),
            )]),
            Labels(&[("runner-deployment-name", Any)]),
            Labels(&[("runnerset-name", Any)]),
        ],
        runner: &["runner"],
        dockerd: &["docker"],
        ..BuiltIn::EMPTY
    },
    BuiltIn {
        name: "gitlab",
        any_of: &[
            Labels(&[("manager.runner.gitlab.com/id-short", Any)]),
            Labels(&[("job.runner.gitlab.com/pod", Any)]),
        ],
        none_of: &[Labels(&[("runner.gitlab.com/pause-pod", Any)])],
        runner: &["build"],
        helpers: &["helper"],
        ..BuiltIn::EMPTY
    },
    BuiltIn {
        name: "buildkite",
        any_of: &[Labels(&[("buildkite.com/job-uuid", Any)])],
        runner: &["*"],
        helpers: &["agent", "checkout"],
        ..BuiltIn::EMPTY
    },
    BuiltIn {
        name: "jenkins",
        any_of: &[
            Labels(&[("jenkins/label", Any)]),
            Labels(&[("jenkins", Is("slave"))]),
        ],
        runner: &["*"],
        helpers: &["jnlp"],
        ..BuiltIn::EMPTY
    },
    BuiltIn {
        name: "woodpecker",
        withholds_sockets: true,
        any_of: &[
            Labels(&[("woodpecker-ci.org/repo-id", Any)]),
            Labels(&[("woodpecker-ci.org/step", Any)]),
        ],
        runner: &["*"],
        ..BuiltIn::EMPTY
    },
    BuiltIn {
        name: "tekton",
        withholds_sockets: true,
        any_of: &[Labels(&[("tekton.dev/taskRun", Any)])],
        runner: &["step-*"],
        ..BuiltIn::EMPTY
    },
    BuiltIn {
        name: "act-runner",
        withholds_sockets: true,
        any_of: &[Image("*act_runner*"), Image("*forgejo/runner*")],
        runner: &["*"],
        dockerd: &["daemon", "dind"],
        ..BuiltIn::EMPTY
    },
    // The pods that ARC's container hooks start for jobs, and for steps with an image of their own.
    BuiltIn {
        name: "arc-hooks",
        withholds_sockets: true,
        any_of: &[Labels(&[("runner-pod", Any)])],
        runner: &["job"],
        ..BuiltIn::EMPTY
    },
    BuiltIn {
        name: "azure-devops",
        withholds_sockets: true,
        any_of: &[
            Variables(&["AZP_URL", "AZP_POOL"]),
            Variables(&["AZP_URL", "AZP_TOKEN"]),
        ],
        runner: &["*"],
        ..BuiltIn::EMPTY
    },
    BuiltIn {
        name: "argo-workflows",
        withholds_sockets: true,
        any_of: &[Labels(&[("workflows.argoproj.io/workflow", Any)])],
        runner: &["main"],
        ..BuiltIn::EMPTY
    },
    BuiltIn {
        name: "teamcity",
        withholds_sockets: true,
        any_of: &[Labels(&[("teamcity-agent", Any)])],
        runner: &["*"],
        ..BuiltIn::EMPTY
    },
    BuiltIn {
        name: "garm",
        withholds_sockets: true,
        any_of: &[Labels(&[("garm/poolID", Any)])],
        runner: &["runner"],
        ..BuiltIn::EMPTY
    },
    BuiltIn {
        name: "bitbucket",
        withholds_sockets: true,
        any_of: &[
            Labels(&[("runnerUuid", Any)]),
            Image("*bitbucket-pipelines-runner*"),
        ],
        runner: &["*"],
        dockerd: &["docker-in-docker"],
        ..BuiltIn::EMPTY
    },
];

impl BuiltIn {
    const EMPTY: Self = Self {
        name: "",
        withholds_sockets: false,
        any_of: &[],
        none_of: &[],
        runner: &[],
        helpers: &[],
        dockerd: &[],
    };

    pub(super) fn to_recogniser(&self) -> Recogniser {
        let globs = |names: &[&str]| names.iter().map(|name| Glob::new(name)).collect();
        let marks = |looks: &[Look]| looks.iter().map(Look::to_mark).collect();
        Recogniser {
            name: self.name.to_owned(),
            enabled: true,
            withholds_sockets: self.withholds_sockets,
            any_of: marks(self.any_of),
            none_of: marks(self.none_of),
            runner_containers: globs(self.runner),
            helper_containers: globs(self.helpers),
            dockerd_containers: globs(self.dockerd),
        }
    }
}

impl Look {
    fn to_mark(&self) -> Mark {
        match self {
            Self::Labels(labels) => Mark {
                labels: labels
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), value.to_option()))
                    .collect(),
                ..Mark::default()
            },
            Self::Variables(names) => Mark {
                env: names
                    .iter()
                    .map(|name| ((*name).to_owned(), None))
                    .collect(),
                ..Mark::default()
            },
            Self::Image(image) => Mark {
                image: Some(Glob::new(image)),
                ..Mark::default()
            },
        }
    }
}

impl Value {
    fn to_option(&self) -> Option<String> {
        match self {
            Self::Any => None,
            Self::Is(value) => Some((*value).to_owned()),
        }
    }
}
