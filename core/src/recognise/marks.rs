//! Whether a pod bears the marks of a CI system.

use crate::{
    pod::{Map, Pod, Str},
    policy::{Mark, Recogniser},
};

/// Returns whether the pod has one of the recogniser's marks, and none that rules it out.
pub(super) fn is_marked(pod: &Pod<'_>, recogniser: &Recogniser) -> bool {
    recogniser.any_of.iter().any(|mark| has_mark(pod, mark))
        && !recogniser.none_of.iter().any(|mark| has_mark(pod, mark))
}

/// Returns whether the pod has everything that the mark names.
fn has_mark(pod: &Pod<'_>, mark: &Mark) -> bool {
    let containers = || pod.containers().iter().chain(pod.init_containers());
    let labels = pod.metadata.labels.as_ref();
    let has_label = |key: &str, value: Option<&str>| {
        let actual = labels.and_then(|labels: &Map<'_, Str<'_>>| labels.get(key));
        actual.is_some_and(|actual| value.is_none_or(|value| *actual == value))
    };
    let has_env = |name: &str, value: Option<&str>| {
        containers().any(|c| match value {
            Some(value) => c.env_value(name) == Some(value),
            None => c.env_var(name).is_some(),
        })
    };
    mark.labels.iter().all(|(k, v)| has_label(k, v.as_deref()))
        && mark.env.iter().all(|(k, v)| has_env(k, v.as_deref()))
        && mark.image.as_ref().is_none_or(|image| {
            containers().any(|c| c.image.as_deref().is_some_and(|i| image.matches(i)))
        })
}
