//! A borrowed, read-only view of a Pod: the fields that Slipway reads, and no others.
//!
//! The view is never written back. Patches are written against the raw object, so that fields which
//! this version does not know survive. Every list may be absent or `null` (both are legal JSON for an
//! empty Go slice), so lists are `Option`s: a JSON Patch must create the list that it appends to
//! (RFC 6902, section 4.1). What a pod may have of anything is bounded, see [`Pod::is_too_large`].

mod container;
mod json;
mod metadata;
mod path;
mod scheduling;
mod size_limits;
mod spec;

use serde::Deserialize;

pub use container::{
    Container, ContainerSecurityContext, EnvVar, ExecAction, Handler, Lifecycle, Probe, Resources,
    VolumeMount,
};
pub use json::{Map, Scalar, Str};
pub use metadata::{Metadata, OwnerReference};
pub use path::{canonical_path, is_same_path, is_within};
pub use scheduling::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Toleration,
};
pub use spec::{ClaimSource, HostAlias, HostPath, Os, PodSecurityContext, Spec, Volume};

use crate::k8s::names::MAX_SUBDOMAIN;

/// The labels of a node's operating system.
const OS_LABELS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];
/// A label that only Windows nodes have.
const WINDOWS_BUILD: &str = "node.kubernetes.io/windows-build";

/// A list that may be absent or `null`.
pub type List<T> = Option<Vec<T>>;

/// The parts of a Pod (or of a pod template) that decisions look at.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Pod<'a> {
    /// `metadata`.
    #[serde(borrow, default)]
    pub metadata: Metadata<'a>,
    /// `spec`.
    #[serde(borrow, default)]
    pub spec: Spec<'a>,
}

/// A container's place in the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerRef {
    /// `spec.containers[i]`.
    Container(usize),
    /// `spec.initContainers[i]`.
    Init(usize),
}

impl<'a> Pod<'a> {
    /// Parses a Pod's JSON.
    ///
    /// # Errors
    /// When the bytes are not JSON, or a field that Slipway reads has the wrong type.
    pub fn parse(json: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// Returns `spec.containers`, empty when absent.
    #[must_use]
    pub fn containers(&self) -> &[Container<'a>] {
        self.spec.containers.as_deref().unwrap_or_default()
    }

    /// Returns `spec.initContainers`, empty when absent.
    #[must_use]
    pub fn init_containers(&self) -> &[Container<'a>] {
        self.spec.init_containers.as_deref().unwrap_or_default()
    }

    /// Returns `spec.volumes`, empty when absent.
    #[must_use]
    pub fn volumes(&self) -> &[Volume<'a>] {
        self.spec.volumes.as_deref().unwrap_or_default()
    }

    /// Returns the container that `reference` names.
    #[must_use]
    pub fn container(&self, reference: ContainerRef) -> Option<&Container<'a>> {
        match reference {
            ContainerRef::Container(i) => self.containers().get(i),
            ContainerRef::Init(i) => self.init_containers().get(i),
        }
    }

    /// Returns the containers that live as long as the pod: `containers` and native sidecars.
    pub fn long_lived(&self) -> impl Iterator<Item = (ContainerRef, &Container<'a>)> {
        let containers = self.containers().iter().enumerate();
        let sidecars = self.init_containers().iter().enumerate();
        containers
            .map(|(i, c)| (ContainerRef::Container(i), c))
            .chain(
                sidecars
                    .filter(|(_, c)| c.is_native_sidecar())
                    .map(|(i, c)| (ContainerRef::Init(i), c)),
            )
    }

    /// Returns the name for people, or `generateName` with a star. The API server has not checked it
    /// yet, so it is cut to the length that a name may have.
    #[must_use]
    pub fn display_name(&self) -> String {
        let (name, star) = match (&self.metadata.name, &self.metadata.generate_name) {
            (Some(name), _) => (name.as_str(), ""),
            (None, Some(prefix)) => (prefix.as_str(), "*"),
            (None, None) => ("(no name)", ""),
        };
        let printable = name.chars().filter(|c| !c.is_control());
        let mut shown: String = printable.take(MAX_SUBDOMAIN).collect();
        while shown.len() > MAX_SUBDOMAIN {
            shown.pop();
        }
        shown + star
    }

    /// Returns whether the pod says that it runs on Windows.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        let selector = self.spec.node_selector.as_ref();
        let selected = |key| selector.and_then(|selector| selector.get(key));
        let affinity = self.spec.affinity.as_ref();
        let node_affinity = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let required = node_affinity.and_then(|affinity| affinity.required.as_ref());
        self.spec.os.as_ref().is_some_and(|os| os.name == "windows")
            || OS_LABELS
                .iter()
                .any(|key| selected(key).is_some_and(|os| *os == "windows"))
            || selected(WINDOWS_BUILD).is_some()
            || required.is_some_and(NodeSelector::requires_windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_lists_are_empty_lists() {
        let pod = Pod::parse(
            br#"{"metadata":{"labels":null,"annotations":null},"spec":{"containers":null,"volumes":null,"initContainers":null,"tolerations":null}}"#,
        )
        .unwrap();
        assert!(pod.containers().is_empty());
        assert!(pod.volumes().is_empty());
    }

    #[test]
    fn an_empty_object_is_a_valid_pod() {
        let pod = Pod::parse(b"{}").unwrap();
        assert_eq!(pod.display_name(), "(no name)");
    }

    #[test]
    fn windows_pods_are_known_by_os_or_node_selector() {
        for spec in [
            r#"{"spec":{"os":{"name":"windows"}}}"#,
            r#"{"spec":{"nodeSelector":{"kubernetes.io/os":"windows"}}}"#,
            r#"{"spec":{"nodeSelector":{"node.kubernetes.io/windows-build":"10.0.20348"}}}"#,
        ] {
            assert!(Pod::parse(spec.as_bytes()).unwrap().is_windows(), "{spec}");
        }
        assert!(
            !Pod::parse(br#"{"spec":{"os":{"name":"linux"}}}"#)
                .unwrap()
                .is_windows()
        );
    }

    #[test]
    fn windows_pods_are_known_by_a_required_affinity_of_every_term() {
        let windows = r#"{"key":"kubernetes.io/os","operator":"In","values":["windows"]}"#;
        let no_linux = r#"{"key":"kubernetes.io/os","operator":"NotIn","values":["linux"]}"#;
        let any = r#"{"key":"kubernetes.io/os","operator":"In","values":["windows","linux"]}"#;
        let pool = r#"{"key":"pool","operator":"In","values":["windows"]}"#;
        for (terms, expected) in [
            (vec![windows], true),
            (vec![no_linux], true),
            (vec![windows, windows], true),
            (vec![windows, pool], false),
            (vec![any], false),
            (vec![], false),
        ] {
            let terms: Vec<String> = terms
                .iter()
                .map(|term| format!(r#"{{"matchExpressions":[{pool},{term}]}}"#))
                .collect();
            let pod = format!(
                r#"{{"spec":{{"affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{}]}}}}}}}}}}"#,
                terms.join(",")
            );
            let is_windows = Pod::parse(pod.as_bytes()).unwrap().is_windows();
            assert_eq!(is_windows, expected, "{pod}");
        }
    }

    #[test]
    fn pod_level_resources_count_only_with_cpu_or_memory() {
        for (resources, expected) in [
            ("{}", false),
            ("null", false),
            (r#"{"requests":{},"limits":null}"#, false),
            (r#"{"limits":{"hugepages-2Mi":"2Mi"}}"#, false),
            (r#"{"limits":{"memory":"1Gi"}}"#, true),
            (r#"{"requests":{"cpu":"1"}}"#, true),
        ] {
            let pod = format!(r#"{{"spec":{{"resources":{resources}}}}}"#);
            let pod = Pod::parse(pod.as_bytes()).unwrap();
            assert_eq!(pod.spec.has_pod_level_resources(), expected, "{resources}");
        }
    }
}
