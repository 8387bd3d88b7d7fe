//! What a pod says about the nodes that it may run on.

use serde::Deserialize;

use super::{
    List, OS_LABELS, WINDOWS_BUILD,
    json::{Str, list},
    size_limits::CONSTRAINTS,
};

/// `spec.affinity`. Only node affinity matters here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Affinity<'a> {
    /// `nodeAffinity`.
    #[serde(borrow)]
    pub node_affinity: Option<NodeAffinity<'a>>,
}

/// `spec.affinity.nodeAffinity`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct NodeAffinity<'a> {
    /// The part that the scheduler must obey.
    #[serde(borrow, rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector<'a>>,
}

/// A node selector. One matching term is enough.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector<'a> {
    /// `nodeSelectorTerms`.
    #[serde(borrow, default, deserialize_with = "list::<_, _, CONSTRAINTS>")]
    pub node_selector_terms: List<NodeSelectorTerm<'a>>,
}

impl NodeSelector<'_> {
    /// Returns whether every term admits Windows nodes only.
    pub(super) fn requires_windows(&self) -> bool {
        let terms = self.node_selector_terms.as_deref().unwrap_or_default();
        let is_for_windows = |term: &NodeSelectorTerm<'_>| {
            let mut expressions = term.match_expressions.iter().flatten();
            expressions.any(NodeSelectorRequirement::requires_windows)
        };
        !terms.is_empty() && terms.iter().all(is_for_windows)
    }
}

/// A term of a node selector. All of its expressions and fields must match; an empty term matches
/// nothing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelectorTerm<'a> {
    /// `matchExpressions`, over labels.
    #[serde(borrow, default, deserialize_with = "list::<_, _, CONSTRAINTS>")]
    pub match_expressions: List<NodeSelectorRequirement<'a>>,
    /// `matchFields`, over fields. Kubernetes only supports `metadata.name`.
    #[serde(borrow, default, deserialize_with = "list::<_, _, CONSTRAINTS>")]
    pub match_fields: List<NodeSelectorRequirement<'a>>,
}

/// A requirement of a term: `key operator values`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct NodeSelectorRequirement<'a> {
    /// A label's key or a field's path.
    #[serde(borrow)]
    pub key: Str<'a>,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`.
    #[serde(borrow)]
    pub operator: Str<'a>,
    /// The values; one integer for `Gt` and `Lt`.
    #[serde(borrow, default, deserialize_with = "list::<_, _, CONSTRAINTS>")]
    pub values: List<Str<'a>>,
}

impl NodeSelectorRequirement<'_> {
    fn requires_windows(&self) -> bool {
        let mut values = self.values.iter().flatten();
        if !OS_LABELS.iter().any(|label| self.key == *label) {
            return self.key == WINDOWS_BUILD
                && matches!(self.operator.as_str(), "In" | "Exists" | "Gt" | "Lt");
        }
        match self.operator.as_str() {
            "In" => {
                let mut values = values.peekable();
                values.peek().is_some() && values.all(|os| *os == "windows")
            }
            "NotIn" => values.any(|os| *os == "linux"),
            _ => false,
        }
    }
}

/// A toleration. An empty key with `Exists` tolerates everything; an empty effect means all effects.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Toleration<'a> {
    /// The taint's key.
    #[serde(borrow)]
    pub key: Option<Str<'a>>,
    /// `Exists`, `Equal` (the default), and `Gt`, `Lt` where the API has them.
    #[serde(borrow)]
    pub operator: Option<Str<'a>>,
    /// The taint's value.
    #[serde(borrow)]
    pub value: Option<Str<'a>>,
    /// `NoSchedule`, `PreferNoSchedule`, `NoExecute`.
    #[serde(borrow)]
    pub effect: Option<Str<'a>>,
}
