//! Nodes and namespaces from files (a stand-in until the real module is merged).

use serde::Deserialize;
use serde_json::Value;

use crate::{
    namespace::{LimitRangeItem, Namespace, Namespaces},
    nodes::{NodeObject, Snapshot},
};

/// Why a list of nodes or namespaces cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FleetError(String);

fn objects(text: &str, source: &str) -> Result<Vec<Value>, FleetError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| FleetError(format!("{source}: {}", error.without_snippet())))?;
    let mut all = Vec::new();
    for document in documents {
        match document.get("items").and_then(Value::as_array) {
            Some(items) => all.extend(items.iter().cloned()),
            None if document.is_object() => all.push(document),
            None => {
                return Err(FleetError(format!(
                    "{source}: line 1, column 1: expected objects"
                )));
            }
        }
    }
    Ok(all)
}

fn of_kind<'v>(all: &'v [Value], kind: &'v str) -> impl Iterator<Item = &'v Value> {
    all.iter()
        .filter(move |object| object.get("kind").and_then(Value::as_str) == Some(kind))
}

/// The nodes in `text`.
///
/// # Errors
/// When it is not YAML.
pub fn nodes(text: &str, source: &str) -> Result<Snapshot, FleetError> {
    let all = objects(text, source)?;
    let nodes: Result<Vec<NodeObject>, _> =
        of_kind(&all, "Node").map(NodeObject::deserialize).collect();
    let nodes = nodes.map_err(|error| FleetError(format!("{source}: {error}")))?;
    Ok(Snapshot::new(nodes))
}

/// The namespaces in `text`.
///
/// # Errors
/// When it is not YAML.
pub fn namespaces(text: &str, source: &str) -> Result<Namespaces, FleetError> {
    let all = objects(text, source)?;
    let text_at = |object: &Value, pointer| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Ok(Namespaces::new(of_kind(&all, "Namespace").map(|object| {
        let name = text_at(object, "/metadata/name");
        let limits = of_kind(&all, "LimitRange")
            .filter(|range| text_at(range, "/metadata/namespace") == name)
            .filter_map(|range| {
                Vec::<LimitRangeItem>::deserialize(range.pointer("/spec/limits")?).ok()
            })
            .flatten()
            .collect();
        let labels = object
            .pointer("/metadata/labels")
            .cloned()
            .unwrap_or_default();
        Namespace {
            name,
            labels: serde_json::from_value(labels).unwrap_or_default(),
            limits,
        }
    })))
}

/// The built-in example's nodes.
#[must_use]
pub fn example_nodes() -> Snapshot {
    nodes(include_str!("../examples/nodes/aks.yaml"), "built-in").unwrap_or_default()
}

/// The built-in example's namespaces.
#[must_use]
pub fn example_namespaces() -> Namespaces {
    namespaces(include_str!("../examples/namespaces/ci.yaml"), "built-in").unwrap_or_default()
}
