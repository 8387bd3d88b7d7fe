//! Whether a pod could be placed on a node: the scheduler's own filters, without resources.
//!
//! Sources: <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/> and
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::facts::Taint;
use crate::pod::{Map, NodeSelectorRequirement, NodeSelectorTerm, Pod, Toleration};

/// The taint that the scheduler sees on a cordoned node.
const CORDON: &str = "node.kubernetes.io/unschedulable";

/// Labels, and what else a pod's constraints look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'n> {
    /// The node's name, when one node is looked at; `None` for a group.
    pub name: Option<&'n str>,
    /// The labels that it shares with its group.
    pub labels: &'n BTreeMap<String, String>,
    /// The labels that are its own.
    pub own_labels: &'n [(Arc<str>, Arc<str>)],
    pub taints: &'n [Taint],
    pub unschedulable: bool,
    /// Whether its labels say that it runs Windows.
    pub windows: bool,
}

impl<'n> Place<'n> {
    pub fn label(&self, key: &str) -> Option<&'n str> {
        let own = self.own_labels.iter().find(|(k, _)| **k == *key);
        own.map(|(_, value)| &**value)
            .or_else(|| self.labels.get(key).map(String::as_str))
    }
}

/// The nodes that the pod's constraints single out: by name, or by values of labels for which
/// `with_value` knows the nodes (`None` for other labels). Of every other node the constraints say
/// what they say of one without a name and without those labels. `None` when they do not, because
/// they ask for more than to be, or not to be, in a list.
pub(super) fn singled_out<'p, N>(
    pod: &'p Pod<'_>,
    with_value: impl Fn(&str, &str) -> Option<N>,
) -> Option<BTreeSet<&'p str>>
where
    N: Iterator<Item = &'p str>,
{
    let by_name = pod.spec.node_name.as_deref();
    let mut names: BTreeSet<&str> = by_name
        .filter(|name| !name.is_empty())
        .into_iter()
        .collect();
    for (key, value) in pod.spec.node_selector.iter().flat_map(Map::iter) {
        names.extend(with_value(key, value).into_iter().flatten());
    }
    let is_list = |r: &NodeSelectorRequirement<'_>| matches!(r.operator.as_str(), "In" | "NotIn");
    for term in required_terms(pod).unwrap_or_default() {
        for field in term.match_fields.iter().flatten() {
            if !is_list(field) {
                return None;
            }
            names.extend(field.values.iter().flatten().map(|name| &**name));
        }
        for label in term.match_expressions.iter().flatten() {
            if is_list(label) {
                let values = label.values.iter().flatten();
                let nodes = values.filter_map(|value| with_value(&label.key, value));
                names.extend(nodes.flatten());
            } else if with_value(&label.key, "").is_some() {
                return None;
            }
        }
    }
    Some(names)
}

/// Whether the scheduler could place `pod` there.
pub(super) fn admits(pod: &Pod<'_>, place: Place<'_>) -> bool {
    if let Some(wanted) = pod
        .spec
        .node_name
        .as_deref()
        .filter(|name| !name.is_empty())
    {
        // Bound already: the scheduler's filters do not apply, the kubelet's few are not known here.
        return place.name == Some(wanted);
    }
    // The cheapest first. A pod that gets here is a Linux pod; a Windows node would only fail it.
    !place.windows
        && tolerates(pod, place)
        && selector_matches(pod, place)
        && affinity_matches(pod, place)
}

/// Whether a node with these labels runs Windows.
pub(super) fn is_windows(labels: &BTreeMap<String, String>) -> bool {
    labels
        .get("kubernetes.io/os")
        .is_some_and(|os| os == "windows")
}

fn selector_matches(pod: &Pod<'_>, place: Place<'_>) -> bool {
    pod.spec.node_selector.iter().all(|selector| {
        selector
            .iter()
            .all(|(key, value)| place.label(key) == Some(value.as_str()))
    })
}

fn required_terms<'p, 'a>(pod: &'p Pod<'a>) -> Option<&'p [NodeSelectorTerm<'a>]> {
    let node_affinity = pod.spec.affinity.as_ref()?.node_affinity.as_ref()?;
    Some(
        node_affinity
            .required
            .as_ref()?
            .node_selector_terms
            .as_deref()
            .unwrap_or_default(),
    )
}

fn affinity_matches(pod: &Pod<'_>, place: Place<'_>) -> bool {
    required_terms(pod).is_none_or(|terms| terms.iter().any(|term| fits(term, place)))
}

/// Whether a node selector term fits the place.
pub(super) fn fits(term: &NodeSelectorTerm<'_>, place: Place<'_>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let of_label =
        |r: &NodeSelectorRequirement<'_>| requirement_matches(r, place.label(r.key.as_str()));
    let of_field = |r: &NodeSelectorRequirement<'_>| {
        r.key == "metadata.name" && requirement_matches(r, place.name)
    };
    // An empty term matches nothing.
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(of_label)
        && fields.iter().all(of_field)
}

fn requirement_matches(requirement: &NodeSelectorRequirement<'_>, actual: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || actual.is_some_and(|actual| values.iter().any(|v| v.as_str() == actual));
    let compare = |wanted: fn(i64, i64) -> bool| match (actual, values) {
        (Some(actual), [value]) => match (actual.parse(), value.parse()) {
            (Ok(actual), Ok(value)) => wanted(actual, value),
            _ => false,
        },
        _ => false,
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" => compare(|actual, value| actual > value),
        "Lt" => compare(|actual, value| actual < value),
        _ => false,
    }
}

fn tolerates(pod: &Pod<'_>, place: Place<'_>) -> bool {
    let tolerations = pod.spec.tolerations.as_deref().unwrap_or_default();
    let tolerated = |key: &str, value: &str, effect: &str| {
        tolerations.iter().any(|t| covers(t, key, value, effect))
    };
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    place
        .taints
        .iter()
        .filter(hard)
        .all(|taint| tolerated(&taint.key, &taint.value, &taint.effect))
        && (!place.unschedulable || tolerated(CORDON, "", "NoSchedule"))
}

/// Whether the toleration covers the taint `key=value:effect`.
fn covers(toleration: &Toleration<'_>, key: &str, value: &str, effect: &str) -> bool {
    let wanted_effect = toleration.effect.as_deref().unwrap_or_default();
    let wanted_key = toleration.key.as_deref().unwrap_or_default();
    let wanted_value = toleration.value.as_deref().unwrap_or_default();
    if !wanted_effect.is_empty() && wanted_effect != effect {
        return false;
    }
    let operator = toleration.operator.as_deref().unwrap_or_default();
    if wanted_key.is_empty() {
        return operator == "Exists";
    }
    let numbers = || {
        Some((
            value.parse::<i64>().ok()?,
            wanted_value.parse::<i64>().ok()?,
        ))
    };
    wanted_key == key
        && match operator {
            "Exists" => true,
            "" | "Equal" => wanted_value == value,
            "Gt" => numbers().is_some_and(|(actual, wanted)| actual > wanted),
            "Lt" => numbers().is_some_and(|(actual, wanted)| actual < wanted),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn admitted(spec: &Value, labels: &[(&str, &str)], taints: &[(&str, &str, &str)]) -> bool {
        let pod = json!({ "spec": spec }).to_string();
        let labels: BTreeMap<String, String> = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let taints: Vec<Taint> = taints
            .iter()
            .map(|(key, value, effect)| Taint {
                key: (*key).to_owned(),
                value: (*value).to_owned(),
                effect: (*effect).to_owned(),
            })
            .collect();
        admits(
            &Pod::parse(pod.as_bytes()).unwrap(),
            Place {
                name: Some("node-1"),
                labels: &labels,
                own_labels: &[],
                taints: &taints,
                unschedulable: false,
                windows: is_windows(&labels),
            },
        )
    }

    fn affinity(terms: &Value) -> Value {
        json!({"affinity": {"nodeAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    }

    #[test]
    fn every_operator_of_node_affinity_works() {
        let labels = [("pool", "ci"), ("cores", "8")];
        for (key, operator, values, expected) in [
            ("pool", "In", json!(["ci", "x"]), true),
            ("pool", "In", json!(["x"]), false),
            ("pool", "NotIn", json!(["x"]), true),
            ("pool", "NotIn", json!(["ci"]), false),
            ("absent", "NotIn", json!(["x"]), true),
            ("absent", "In", json!(["x"]), false),
            ("pool", "Exists", json!(null), true),
            ("absent", "Exists", json!([]), false),
            ("absent", "DoesNotExist", json!([]), true),
            ("cores", "Gt", json!(["4"]), true),
            ("cores", "Gt", json!(["8"]), false),
            ("cores", "Lt", json!(["9"]), true),
            ("pool", "Gt", json!(["4"]), false),
            ("cores", "Gt", json!(["1", "2"]), false),
            ("cores", "Nonsense", json!(["8"]), false),
        ] {
            let spec = affinity(
                &json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]),
            );
            assert_eq!(
                admitted(&spec, &labels, &[]),
                expected,
                "{key} {operator} {values}"
            );
        }
    }

    #[test]
    fn terms_are_ored_and_their_expressions_anded() {
        let is = |key: &str, value: &str| json!({"key": key, "operator": "In", "values": [value]});
        let labels = [("a", "1"), ("b", "1")];
        let both = affinity(&json!([{"matchExpressions": [is("a", "1"), is("b", "2")]}]));
        let either = affinity(
            &json!([{"matchExpressions": [is("a", "2")]}, {"matchExpressions": [is("b", "1")]}]),
        );
        assert!(!admitted(&both, &labels, &[]));
        assert!(admitted(&either, &labels, &[]));
    }

    #[test]
    fn an_empty_term_or_an_empty_list_of_terms_matches_nothing() {
        assert!(!admitted(&affinity(&json!([{}])), &[], &[]));
        assert!(!admitted(&affinity(&json!([])), &[], &[]));
        assert!(!admitted(&affinity(&json!(null)), &[], &[]));
    }

    #[test]
    fn match_fields_look_at_the_name() {
        let by_name = |name: &str| {
            affinity(
                &json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]),
            )
        };
        assert!(admitted(&by_name("node-1"), &[], &[]));
        assert!(!admitted(&by_name("node-2"), &[], &[]));
    }

    #[test]
    fn a_named_node_needs_no_toleration() {
        let taints = [("dedicated", "x", "NoSchedule")];
        assert!(admitted(&json!({"nodeName": "node-1"}), &[], &taints));
        assert!(!admitted(&json!({"nodeName": "node-2"}), &[], &[]));
    }

    #[test]
    fn every_form_of_toleration_works() {
        let taint = ("dedicated", "ci", "NoSchedule");
        for (toleration, expected) in [
            (
                json!({"key": "dedicated", "operator": "Equal", "value": "ci", "effect": "NoSchedule"}),
                true,
            ),
            (json!({"key": "dedicated", "value": "ci"}), true),
            (json!({"key": "dedicated", "value": "web"}), false),
            (json!({"key": "dedicated", "operator": "Exists"}), true),
            (json!({"operator": "Exists"}), true),
            (json!({"operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
            (json!({"value": "ci"}), false),
        ] {
            let spec = json!({"tolerations": [toleration]});
            assert_eq!(admitted(&spec, &[], &[taint]), expected, "{spec}");
        }
        let level = |operator: &str| json!({"tolerations": [{"key": "level", "operator": operator, "value": "5"}]});
        assert!(admitted(&level("Gt"), &[], &[("level", "7", "NoSchedule")]));
        assert!(!admitted(
            &level("Lt"),
            &[],
            &[("level", "7", "NoSchedule")]
        ));
    }

    #[test]
    fn soft_taints_do_not_keep_a_pod_away() {
        assert!(admitted(&json!({}), &[], &[("x", "", "PreferNoSchedule")]));
        assert!(!admitted(&json!({}), &[], &[("x", "", "NoExecute")]));
    }

    #[test]
    fn cordoned_nodes_are_out_unless_tolerated() {
        let labels = BTreeMap::new();
        let place = Place {
            name: None,
            labels: &labels,
            own_labels: &[],
            taints: &[],
            unschedulable: true,
            windows: false,
        };
        assert!(!admits(&Pod::parse(b"{}").unwrap(), place));
        let tolerant = br#"{"spec":{"tolerations":[{"key":"node.kubernetes.io/unschedulable","operator":"Exists"}]}}"#;
        assert!(admits(&Pod::parse(tolerant).unwrap(), place));
    }

    #[test]
    fn windows_nodes_are_no_candidates() {
        assert!(!admitted(
            &json!({}),
            &[("kubernetes.io/os", "windows")],
            &[]
        ));
    }
}
