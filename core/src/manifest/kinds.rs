//! The kinds of resources that hold a pod, and where they hold it.

/// The group of the legacy Actions Runner Controller.
pub(super) const LEGACY_GROUP: &str = "actions.summerwind.dev";

/// A kind of resource that holds a pod.
pub(super) struct Kind {
    /// The API groups that have it; `""` is the core group.
    groups: &'static [&'static str],
    pub name: &'static str,
    /// The JSON pointer of the pod's `metadata` and `spec`.
    pub pod: &'static str,
    pub added_labels: AddedLabels,
}

/// The labels that a controller adds to its pods, by which they are recognised.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AddedLabels {
    None,
    ScaleSet,
    RunnerSet,
    ScaledJob,
}

impl Kind {
    /// Finds a kind by its name and, where it is known, its API group.
    pub(super) fn find(name: &str, group: Option<&str>) -> Option<&'static Self> {
        KINDS.iter().find(|kind| {
            kind.name == name && group.is_none_or(|group| kind.groups.contains(&group))
        })
    }

    const fn new(groups: &'static [&'static str], name: &'static str, pod: &'static str) -> Self {
        Self {
            groups,
            name,
            pod,
            added_labels: AddedLabels::None,
        }
    }

    const fn scale_set(name: &'static str, pod: &'static str) -> Self {
        Self {
            added_labels: AddedLabels::ScaleSet,
            ..Self::new(&["actions.github.com"], name, pod)
        }
    }
}

static KINDS: [Kind; 14] = [
    Kind::new(&[""], "Pod", ""),
    Kind::new(&[""], "PodTemplate", "/template"),
    Kind::new(&[""], "ReplicationController", "/spec/template"),
    Kind::new(&["apps", "extensions"], "Deployment", "/spec/template"),
    Kind::new(&["apps"], "StatefulSet", "/spec/template"),
    Kind::new(&["apps", "extensions"], "DaemonSet", "/spec/template"),
    Kind::new(&["apps", "extensions"], "ReplicaSet", "/spec/template"),
    Kind::new(&["batch"], "Job", "/spec/template"),
    Kind::new(&["batch"], "CronJob", "/spec/jobTemplate/spec/template"),
    Kind {
        added_labels: AddedLabels::ScaledJob,
        ..Kind::new(&["keda.sh"], "ScaledJob", "/spec/jobTargetRef/template")
    },
    Kind::scale_set("AutoscalingRunnerSet", "/spec/template"),
    Kind::scale_set("EphemeralRunnerSet", "/spec/ephemeralRunnerSpec"),
    Kind::scale_set("EphemeralRunner", "/spec"),
    Kind {
        added_labels: AddedLabels::RunnerSet,
        ..Kind::new(&[LEGACY_GROUP], "RunnerSet", "/spec/template")
    },
];
