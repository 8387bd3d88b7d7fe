//! The pods that are left alone before any strategy is considered.

use crate::{
    k8s::namespace::{INJECT, Namespace},
    pod::Pod,
    reason::Reason,
    recognise::RunnerPod,
};

/// Returns why a pod is left alone whatever it runs: its namespace or the pod itself opts out.
pub(super) fn opted_out(pod: &Pod<'_>, name: &str, known: Option<&Namespace>) -> Option<Reason> {
    let says_no = |value: Option<&str>| matches!(value, Some("false" | "disabled"));
    // Of a namespace that is not known yet, its name may say enough.
    let unlabelled = || Namespace {
        name: name.to_owned(),
        ..Namespace::default()
    };
    let is_protected = known.map_or_else(|| unlabelled().is_protected(), Namespace::is_protected);
    if is_protected {
        Some(Reason::NamespaceProtected)
    } else if known.is_some_and(|namespace| !namespace.is_enabled()) {
        Some(Reason::NamespaceNotEnabled)
    } else if says_no(pod.metadata.label(INJECT)) || says_no(pod.metadata.annotation(INJECT)) {
        Some(Reason::PodOptedOut)
    } else if pod.is_too_large() {
        Some(Reason::PodTooLarge)
    } else {
        None
    }
}

/// Returns why a runner pod is left alone: its containers build nothing that Slipway could speed up.
pub(super) fn builds_nothing(pod: &Pod<'_>, runner: &RunnerPod<'_>) -> Option<Reason> {
    if pod.is_windows() {
        Some(Reason::WindowsPod)
    } else if runner.kubernetes_mode {
        Some(Reason::KubernetesMode)
    } else {
        None
    }
}
