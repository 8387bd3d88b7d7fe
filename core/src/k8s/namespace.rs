//! What Slipway knows of a namespace: its labels, its Pod Security level, its LimitRanges.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::k8s::quantity::Quantity;

/// The label of a namespace, and the label or annotation of a pod, that opts in or out.
pub const INJECT: &str = "slipway.io/inject";
/// The label of a namespace that selects a profile.
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
    /// The `limits` of its LimitRanges.
    pub limits: Vec<LimitRangeItem>,
    /// What its ResourceQuotas count of containers, such as `requests.memory`.
    pub quotas: BTreeSet<String>,
}

/// What a key of a ResourceQuota's `spec.hard` counts of containers, such as `requests.memory`;
/// `None` for a key that counts something else
/// (<https://kubernetes.io/docs/concepts/policy/resource-quotas/>).
#[must_use]
pub fn counted_by_quota(key: &str) -> Option<String> {
    match key {
        "cpu" | "memory" | "ephemeral-storage" => Some(format!("requests.{key}")),
        // Of claims, not of containers.
        "requests.storage" => None,
        key if key.starts_with("requests.") || key.starts_with("limits.") => Some(key.to_owned()),
        _ => None,
    }
}

impl Namespace {
    /// Whether the label `slipway.io/inject: enabled` opts it in.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.labels.get(INJECT).is_some_and(|v| v == "enabled")
    }

    /// Whether it is one that no policy may touch: the cluster's own.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        matches!(
            self.name.as_str(),
            "kube-system" | "kube-public" | "kube-node-lease"
        ) || self.labels.contains_key("control-plane")
    }

    /// The profile that its label asks for.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        self.labels.get(PROFILE).map(String::as_str)
    }

    /// The Pod Security level that it enforces, `default` without a label. As in the API server's
    /// admission, an unknown level counts as `restricted`.
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

/// An item of a LimitRange's `spec.limits`
/// (<https://kubernetes.io/docs/concepts/policy/limit-range/>).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitRangeItem {
    /// `Container`, `Pod` or `PersistentVolumeClaim`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Limits that containers without any get.
    pub default: BTreeMap<String, Quantity>,
    /// Requests that containers without any get.
    pub default_request: BTreeMap<String, Quantity>,
    /// No request may be lower.
    pub min: BTreeMap<String, Quantity>,
    /// No limit may be higher; and a limit there must be.
    pub max: BTreeMap<String, Quantity>,
    /// How many times its request a limit may be.
    pub max_limit_request_ratio: BTreeMap<String, Quantity>,
}

/// All known namespaces; immutable, replaced whole.
#[derive(Debug, Clone, Default)]
pub struct Namespaces(HashMap<String, Namespace>);

impl Namespaces {
    /// These namespaces; of two with one name the later counts.
    #[must_use]
    pub fn new(namespaces: impl IntoIterator<Item = Namespace>) -> Self {
        Self(
            namespaces
                .into_iter()
                .map(|namespace| (namespace.name.clone(), namespace))
                .collect(),
        )
    }

    /// The namespace `name`, if it is known.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Namespace> {
        self.0.get(name)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.0.values()
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is known.
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
    fn quotas_count_requests_limits_or_something_else() {
        for (key, counted) in [
            ("memory", Some("requests.memory")),
            ("requests.cpu", Some("requests.cpu")),
            ("limits.memory", Some("limits.memory")),
            ("pods", None),
            ("requests.storage", None),
            ("count/secrets", None),
        ] {
            assert_eq!(counted_by_quota(key).as_deref(), counted, "{key}");
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
