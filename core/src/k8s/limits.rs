//! LimitRanges and ResourceQuotas: what a namespace demands of the resources of its containers.
//!
//! Modelled once: for the watch, for files, and for what is injected.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::k8s::quantity::Quantity;

/// The `spec` of a [LimitRange](https://kubernetes.io/docs/concepts/policy/limit-range/).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LimitRangeSpec {
    limits: Option<Vec<Value>>,
}

impl LimitRangeSpec {
    /// Parses the items one by one: an item whose form is newer than this version must not hide the others.
    pub fn items(&self) -> impl Iterator<Item = Result<LimitRangeItem, serde_json::Error>> + '_ {
        self.limits
            .iter()
            .flatten()
            .map(LimitRangeItem::deserialize)
    }
}

/// An item of a LimitRange's `spec.limits`: bounds and defaults by resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitRangeItem {
    /// What the item limits.
    #[serde(rename = "type")]
    pub limit_type: LimitType,
    /// Limits of containers that set none.
    pub default: BTreeMap<String, Quantity>,
    /// Requests of containers that set none.
    pub default_request: BTreeMap<String, Quantity>,
    /// The lowest request.
    pub min: BTreeMap<String, Quantity>,
    /// The highest limit. A resource with a `max` must have a limit.
    pub max: BTreeMap<String, Quantity>,
    /// The highest ratio of a limit to its request.
    pub max_limit_request_ratio: BTreeMap<String, Quantity>,
}

/// What an item of a LimitRange limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum LimitType {
    /// Each container.
    Container,
    /// The containers of a pod in sum.
    Pod,
    /// The storage of a claim.
    PersistentVolumeClaim,
    /// Something that Slipway does not create.
    #[default]
    #[serde(other)]
    Other,
}

/// The `spec` of a [ResourceQuota](https://kubernetes.io/docs/concepts/policy/resource-quotas/): only what
/// it counts, not how much of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResourceQuotaSpec {
    hard: Option<Map<String, Value>>,
}

impl ResourceQuotaSpec {
    /// Returns what the quota counts of containers, such as `requests.memory`.
    #[must_use]
    pub fn counted(&self) -> BTreeSet<String> {
        let keys = self.hard.iter().flat_map(Map::keys);
        keys.filter_map(|key| counted_of_containers(key)).collect()
    }
}

/// Returns what a key of `spec.hard` counts of containers, or `None` if it counts something else.
fn counted_of_containers(key: &str) -> Option<String> {
    match key {
        "cpu" | "memory" | "ephemeral-storage" => Some(format!("requests.{key}")),
        // Of claims, not of containers.
        "requests.storage" => None,
        key if key.starts_with("requests.") || key.starts_with("limits.") => Some(key.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
            let quota: ResourceQuotaSpec =
                serde_json::from_value(json!({"hard": {key: "1"}})).unwrap();
            let expected = counted.map(str::to_owned).into_iter().collect();
            assert_eq!(quota.counted(), expected, "{key}");
        }
    }

    #[test]
    fn an_unreadable_item_does_not_hide_the_others() {
        let spec: LimitRangeSpec = serde_json::from_value(json!({"limits": [
            {"type": "Pod", "max": {"cpu": "?"}},
            {"type": "Container", "max": {"cpu": "2"}},
            {"type": "Tomorrow"}
        ]}))
        .unwrap();
        let types: Vec<_> = spec
            .items()
            .filter_map(Result::ok)
            .map(|item| item.limit_type)
            .collect();
        assert_eq!(types, [LimitType::Container, LimitType::Other]);
    }
}
