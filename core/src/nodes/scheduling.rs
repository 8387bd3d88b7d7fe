//! The scheduler's filters, without resources: which nodes could a pod be scheduled to?
//!
//! Sources: <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/> and
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>.

use std::collections::BTreeSet;

use super::{
    Taint,
    group::Group,
    individual_labels::{IndividualLabel, IndividualLabels},
};
use crate::pod::{Map, NodeSelectorRequirement, NodeSelectorTerm, Pod, Toleration};

/// The taint that the scheduler sees on a cordoned node.
const CORDON: &str = "node.kubernetes.io/unschedulable";

/// What a pod's constraints are checked against: a whole group, or one node of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'n> {
    /// The node's name; `None` for a group.
    pub name: Option<&'n str>,
    /// The node's individual labels; none for a group.
    pub individual_labels: &'n [IndividualLabel],
    pub group: &'n Group,
}

impl<'n> Target<'n> {
    /// Returns the target that stands for every node of the group.
    pub(super) fn group(group: &'n Group) -> Self {
        Self {
            name: None,
            individual_labels: &[],
            group,
        }
    }

    /// Returns the value of a label, individual or shared.
    pub(super) fn label(&self, key: &str) -> Option<&'n str> {
        let mut individual = self.individual_labels.iter();
        match individual.find(|label| *label.key == *key) {
            Some(label) => Some(&label.value),
            None => self.group.labels.get(key).map(String::as_str),
        }
    }
}

/// The way to find the nodes for a pod.
pub(super) enum Lookup<'p> {
    /// Check the groups, then these nodes, whose answers may differ from those of their groups.
    ByGroup { named: BTreeSet<&'p str> },
    /// Check every node: the pod compares an individual label, or names, with more than a list.
    ByNode,
}

impl<'p> Lookup<'p> {
    /// Chooses the way for `pod`.
    ///
    /// A node that the pod does not name, by its name or by the value of an individual label, passes
    /// the pod's constraints exactly if its group does: `In` and `NotIn` give for it what they give
    /// for a node without a name and without that label.
    pub(super) fn of(pod: &'p Pod<'_>, individual_labels: &'p IndividualLabels) -> Self {
        let nodes_with = |key: &str, value: &str| individual_labels.nodes_with(key, value);
        let mut named: BTreeSet<&str> = bound_node(pod).into_iter().collect();
        for (key, value) in pod.spec.node_selector.iter().flat_map(Map::iter) {
            named.extend(nodes_with(key, value).into_iter().flatten());
        }
        let is_list =
            |r: &NodeSelectorRequirement<'_>| matches!(r.operator.as_str(), "In" | "NotIn");
        for term in required_terms(pod).unwrap_or_default() {
            for field in term.match_fields.iter().flatten() {
                if !is_list(field) {
                    return Self::ByNode;
                }
                named.extend(field.values.iter().flatten().map(|name| &**name));
            }
            for label in term.match_expressions.iter().flatten() {
                if is_list(label) {
                    let values = label.values.iter().flatten();
                    let nodes = values.filter_map(|value| nodes_with(&label.key, value));
                    named.extend(nodes.flatten());
                } else if individual_labels.contains(&label.key) {
                    return Self::ByNode;
                }
            }
        }
        Self::ByGroup { named }
    }
}

/// Returns whether the scheduler could choose `target` for `pod`.
pub(super) fn admits(pod: &Pod<'_>, target: Target<'_>) -> bool {
    if let Some(name) = bound_node(pod) {
        // A bound pod skips the scheduler's filters, and the kubelet's few are not known here.
        return target.name == Some(name);
    }
    // The cheapest filter first. Windows pods never get here, and Linux pods cannot run on Windows.
    !target.group.is_windows
        && tolerates(pod, target.group)
        && selector_matches(pod, target)
        && affinity_matches(pod, target)
}

fn bound_node<'p>(pod: &'p Pod<'_>) -> Option<&'p str> {
    let name = pod.spec.node_name.as_deref();
    name.filter(|name| !name.is_empty())
}

fn selector_matches(pod: &Pod<'_>, target: Target<'_>) -> bool {
    let mut selected = pod.spec.node_selector.iter().flat_map(Map::iter);
    selected.all(|(key, value)| target.label(key) == Some(value.as_str()))
}

fn required_terms<'p, 'a>(pod: &'p Pod<'a>) -> Option<&'p [NodeSelectorTerm<'a>]> {
    let node_affinity = pod.spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = node_affinity.required.as_ref()?;
    Some(required.node_selector_terms.as_deref().unwrap_or_default())
}

fn affinity_matches(pod: &Pod<'_>, target: Target<'_>) -> bool {
    required_terms(pod).is_none_or(|terms| terms.iter().any(|term| term_matches(term, target)))
}

/// Returns whether a node selector term matches the target.
pub(super) fn term_matches(term: &NodeSelectorTerm<'_>, target: Target<'_>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let label_matches =
        |r: &NodeSelectorRequirement<'_>| requirement_matches(r, target.label(r.key.as_str()));
    let field_matches = |r: &NodeSelectorRequirement<'_>| {
        r.key == "metadata.name" && requirement_matches(r, target.name)
    };
    // An empty term matches nothing.
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(label_matches)
        && fields.iter().all(field_matches)
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

fn tolerates(pod: &Pod<'_>, group: &Group) -> bool {
    let tolerations = pod.spec.tolerations.as_deref().unwrap_or_default();
    let is_tolerated = |key: &str, value: &str, effect: &str| {
        tolerations.iter().any(|t| covers(t, key, value, effect))
    };
    let is_hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    let mut hard = group.traits.taints.iter().filter(is_hard);
    hard.all(|taint| is_tolerated(&taint.key, &taint.value, &taint.effect))
        && (!group.traits.unschedulable || is_tolerated(CORDON, "", "NoSchedule"))
}

/// Returns whether the toleration covers the taint `key=value:effect`.
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
    use crate::nodes::{
        RuntimeFacts, RuntimeKind,
        group::{Labels, Traits},
    };

    fn group(labels: Labels, taints: Vec<Taint>, unschedulable: bool) -> Group {
        let runtime = RuntimeFacts {
            kind: RuntimeKind::Containerd,
            socket: None,
            restriction: None,
            kubelet_minor: None,
        };
        let traits = Traits {
            taints,
            unschedulable,
            runtime,
        };
        Group::new(labels, traits)
    }

    fn admitted(spec: &Value, labels: &[(&str, &str)], taints: &[(&str, &str, &str)]) -> bool {
        let pod = json!({ "spec": spec }).to_string();
        let labels: Labels = labels
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
        let group = group(labels, taints, false);
        let target = Target {
            name: Some("node-1"),
            ..Target::group(&group)
        };
        admits(&Pod::parse(pod.as_bytes()).unwrap(), target)
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
    fn terms_are_alternatives_and_all_expressions_of_a_term_must_match() {
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
    fn match_fields_match_the_name() {
        let by_name = |name: &str| {
            affinity(
                &json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]),
            )
        };
        assert!(admitted(&by_name("node-1"), &[], &[]));
        assert!(!admitted(&by_name("node-2"), &[], &[]));
    }

    #[test]
    fn a_bound_pod_needs_no_toleration() {
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
    fn soft_taints_do_not_repel_pods() {
        assert!(admitted(&json!({}), &[], &[("x", "", "PreferNoSchedule")]));
        assert!(!admitted(&json!({}), &[], &[("x", "", "NoExecute")]));
    }

    #[test]
    fn cordoned_nodes_are_excluded_unless_tolerated() {
        let cordoned = group(Labels::new(), vec![], true);
        let target = Target::group(&cordoned);
        assert!(!admits(&Pod::parse(b"{}").unwrap(), target));
        let tolerant = br#"{"spec":{"tolerations":[{"key":"node.kubernetes.io/unschedulable","operator":"Exists"}]}}"#;
        assert!(admits(&Pod::parse(tolerant).unwrap(), target));
    }

    #[test]
    fn windows_nodes_are_excluded() {
        assert!(!admitted(
            &json!({}),
            &[("kubernetes.io/os", "windows")],
            &[]
        ));
    }
}
