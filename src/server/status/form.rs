//! The form for a manifest, which both pages show, and the examples that it offers.

use crate::cluster::state::ClusterState;

/// The contents of the form.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) manifest: String,
    /// The pod's namespace; if empty, the manifest's own.
    pub(super) namespace: String,
}

/// An example manifest.
pub(super) struct Example {
    /// Its name in the query.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    text: &'static str,
}

/// The examples that the form offers.
pub(super) const EXAMPLES: [Example; 4] = [
    Example {
        name: "scale-set",
        title: "ARC scale set with dockerd",
        text: include_str!("../../../examples/pods/scale-set-dind.yaml"),
    },
    Example {
        name: "no-docker",
        title: "ARC scale set without dockerd",
        text: include_str!("../../../examples/pods/no-docker.yaml"),
    },
    Example {
        name: "gitlab",
        title: "GitLab job",
        text: include_str!("../../../examples/pods/gitlab-build.yaml"),
    },
    Example {
        name: "legacy",
        title: "ARC legacy runner",
        text: include_str!("../../../examples/pods/legacy-sidecar.yaml"),
    },
];

impl Form {
    /// Returns the form with the example of this name, or an empty one.
    pub(super) fn with_example(name: Option<&str>) -> Self {
        let example = EXAMPLES.iter().find(|example| Some(example.name) == name);
        Self {
            manifest: example.map_or_else(String::new, |example| example.text.to_owned()),
            namespace: String::new(),
        }
    }
}

/// Returns the namespaces that have opted in, sorted: suggestions for the form.
pub(super) fn suggestions(state: &ClusterState) -> Vec<&str> {
    let all = state.namespaces.iter().flat_map(|known| known.iter());
    let opted_in = all.filter(|namespace| namespace.is_enabled());
    let mut names: Vec<&str> = opted_in.map(|namespace| namespace.name.as_str()).collect();
    names.sort_unstable();
    names
}
