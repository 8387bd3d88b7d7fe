//! Namespaces: their labels, Pod Security level, LimitRanges and ResourceQuotas.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::k8s::limits::LimitRangeItem;

/// The label that opts a namespace in, and the label or annotation that opts a pod out.
pub const INJECT: &str = "slipway.io/inject";
/// The label by which a namespace selects a profile.
pub const PROFILE: &str = "slipway.io/profile";
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// A level of the Pod Security Standards
/// (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// No restrictions.
    #[default]
    Privileged,
    /// No privileged containers, no hostPath volumes.
    Baseline,
    /// Baseline, and hardened containers only.
    Restricted,
}

impl fmt::Display for PodSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The items of its LimitRanges.
    pub limits: Vec<LimitRangeItem>,
    /// What its ResourceQuotas count of containers, such as `requests.memory`.
    pub quotas: BTreeSet<String>,
}

impl Namespace {
    /// Returns whether the label `slipway.io/inject: enabled` opts the namespace in.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.labels.get(INJECT).is_some_and(|v| v == "enabled")
    }

    /// Returns whether the namespace is one of the cluster's own, which no policy may touch.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        matches!(
            self.name.as_str(),
            "kube-system" | "kube-public" | "kube-node-lease"
        ) || self.labels.contains_key("control-plane")
    }

    /// Returns the profile that the namespace's label selects.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        self.labels.get(PROFILE).map(String::as_str)
    }

    /// Returns the Pod Security level that the namespace enforces, or `default` if it has no such label.
    /// An unknown level counts as `restricted`, as it does in the API server.
    #[must_use]
    pub fn pod_security(&self, default: PodSecurity) -> PodSecurity {
        match self.labels.get(ENFORCE).map(String::as_str) {
            None => default,
            Some("privileged") => PodSecurity::Privileged,
            Some("baseline") => PodSecurity::Baseline,
            Some(_) => PodSecurity::Restricted,
        }
    }
}

/// All known namespaces: immutable, replaced as a whole.
#[derive(Debug, Clone, Default)]
pub struct Namespaces(HashMap<String, Namespace>);

impl Namespaces {
    /// Collects namespaces; of two with the same name the later one counts.
    #[must_use]
    pub fn new(namespaces: impl IntoIterator<Item = Namespace>) -> Self {
        Self(
            namespaces
                .into_iter()
                .map(|namespace| (namespace.name.clone(), namespace))
                .collect(),
        )
    }

    /// Returns the namespace `name`, if it is known.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Namespace> {
        self.0.get(name)
    }

    /// Returns the same namespaces with this one added, or in place of the one with its name.
    #[must_use]
    pub fn with(&self, namespace: Namespace) -> Self {
        let mut all = self.0.clone();
        all.insert(namespace.name.clone(), namespace);
        Self(all)
    }

    /// Iterates over all namespaces, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.0.values()
    }

    /// Returns the number of known namespaces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether no namespace is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(key: &str, value: &str) -> Namespace {
        Namespace {
            name: "ci".to_owned(),
            labels: [(key.to_owned(), value.to_owned())].into(),
            ..Namespace::default()
        }
    }

    #[test]
    fn only_the_exact_label_opts_in() {
        assert!(labelled(INJECT, "enabled").is_enabled());
        assert!(!labelled(INJECT, "true").is_enabled());
        assert!(!Namespace::default().is_enabled());
    }

    #[test]
    fn an_unknown_pod_security_level_is_the_strictest() {
        let level = |value| labelled(ENFORCE, value).pod_security(PodSecurity::Privileged);
        assert_eq!(level("baseline"), PodSecurity::Baseline);
        assert_eq!(level("nonsense"), PodSecurity::Restricted);
        assert_eq!(
            Namespace::default().pod_security(PodSecurity::Baseline),
            PodSecurity::Baseline
        );
    }
}
