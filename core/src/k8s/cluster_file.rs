//! Nodes and namespaces from files that `kubectl get … -o yaml` or `-o json` wrote.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    k8s::{
        limits::{LimitRangeSpec, ResourceQuotaSpec},
        namespace::{Namespace, Namespaces},
    },
    nodes::{NodeObject, Snapshot},
};

/// The name of the built-in example in messages.
pub const EXAMPLE: &str = "built-in example";
const EXAMPLE_NODES: &str = include_str!("../../../examples/nodes/aks.yaml");
const EXAMPLE_NAMESPACES: &str = include_str!("../../../examples/namespaces/ci.yaml");

/// The error for a file of nodes or namespaces that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterFileError {
    /// The text is neither YAML nor JSON.
    #[error("{source_name}: line {line}, column {column}: {message}")]
    Syntax {
        /// The file.
        source_name: String,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
        /// What is wrong there.
        message: String,
    },
    /// An object cannot be used.
    #[error("{source_name}: {object}: {message}")]
    Object {
        /// The file.
        source_name: String,
        /// The object, such as "item 3 (Node `n3`)".
        object: String,
        /// What is wrong with the object.
        message: String,
    },
    /// The file is empty.
    #[error("{source_name}: the file is empty; write it with `{command}`")]
    Empty {
        /// The file.
        source_name: String,
        /// The command that writes such a file.
        command: &'static str,
    },
}

/// Parses nodes into a snapshot.
///
/// # Errors
/// When the text cannot be parsed, or holds something other than nodes; `source` is its name in the error.
pub fn nodes(text: &str, source: &str) -> Result<Snapshot, ClusterFileError> {
    node_objects(text, source).map(Snapshot::new)
}

/// Parses nodes.
///
/// # Errors
/// As [`nodes`].
pub fn node_objects(text: &str, source: &str) -> Result<Vec<NodeObject>, ClusterFileError> {
    let command = "kubectl get nodes -o yaml";
    let mut nodes = Vec::new();
    for object in objects(text, source, command)? {
        object.expect_kind(&["Node"], command)?;
        object.name()?;
        nodes.push(object.read::<NodeObject>()?);
    }
    Ok(nodes)
}

/// Parses namespaces, with their LimitRanges and ResourceQuotas.
///
/// # Errors
/// When the text cannot be parsed, or holds something else; `source` is its name in the error.
pub fn namespaces(text: &str, source: &str) -> Result<Namespaces, ClusterFileError> {
    let command = "kubectl get namespaces,limitranges,resourcequotas --all-namespaces -o yaml";
    let objects = objects(text, source, command)?;
    let mut namespaces = BTreeMap::new();
    for object in &objects {
        object.expect_kind(&["Namespace", "LimitRange", "ResourceQuota"], command)?;
        if object.kind == "Namespace" {
            let name = object.name()?.to_owned();
            let metadata = object.read::<WithMetadata>()?.metadata;
            let namespace = Namespace {
                name: name.clone(),
                labels: metadata.labels.unwrap_or_default(),
                ..Namespace::default()
            };
            namespaces.insert(name, namespace);
        }
    }
    for object in objects.iter().filter(|object| object.kind != "Namespace") {
        let home = object.read::<WithMetadata>()?.metadata.namespace;
        let home = home.unwrap_or_default();
        let Some(namespace) = namespaces.get_mut(&home) else {
            return Err(object.error(format!("its namespace `{home}` is not in the file")));
        };
        if object.kind == "LimitRange" {
            let range = object.read::<WithSpec<LimitRangeSpec>>()?;
            for item in range.spec.items() {
                let item = item.map_err(|error| object.error(error.to_string()))?;
                namespace.limits.push(item);
            }
        } else {
            let quota = object.read::<WithSpec<ResourceQuotaSpec>>()?;
            namespace.quotas.extend(quota.spec.counted());
        }
    }
    Ok(Namespaces::new(namespaces.into_values()))
}

/// Returns the nodes of an example cluster.
///
/// # Errors
/// Never: the file is part of the program, and a test reads it.
pub fn example_nodes() -> Result<Snapshot, ClusterFileError> {
    nodes(EXAMPLE_NODES, EXAMPLE)
}

/// Returns the namespaces of an example cluster.
///
/// # Errors
/// Never: the file is part of the program, and a test reads it.
pub fn example_namespaces() -> Result<Namespaces, ClusterFileError> {
    namespaces(EXAMPLE_NAMESPACES, EXAMPLE)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct WithMetadata {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct WithSpec<S> {
    spec: S,
}

/// An object of the file, and its place there.
struct Object<'s> {
    source: &'s str,
    place: String,
    kind: String,
    value: Value,
}

impl<'s> Object<'s> {
    /// Creates an object. `list_kind` is the kind of a typed list's items, which need not repeat it.
    fn new(source: &'s str, place: String, value: Value, list_kind: Option<&str>) -> Self {
        let kind = value.get("kind").and_then(Value::as_str).or(list_kind);
        Self {
            source,
            place,
            kind: kind.unwrap_or_default().to_owned(),
            value,
        }
    }

    fn metadata_name(&self) -> Option<&str> {
        let name = self.value.get("metadata")?.get("name")?.as_str()?;
        (!name.is_empty()).then_some(name)
    }

    fn name(&self) -> Result<&str, ClusterFileError> {
        self.metadata_name()
            .ok_or_else(|| self.error("it has no metadata.name".to_owned()))
    }

    fn expect_kind(&self, expected: &[&str], command: &str) -> Result<(), ClusterFileError> {
        if expected.contains(&self.kind.as_str()) {
            return Ok(());
        }
        let found = match self.kind.as_str() {
            "" => "this has no kind".to_owned(),
            kind => format!("this is a {kind}"),
        };
        Err(self.error(format!(
            "expected a {}, as `{command}` prints it, but {found}",
            expected.join(" or a ")
        )))
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, ClusterFileError> {
        T::deserialize(&self.value).map_err(|error| self.error(error.to_string()))
    }

    fn error(&self, message: String) -> ClusterFileError {
        let object = match (self.kind.as_str(), self.metadata_name()) {
            ("", None) => self.place.clone(),
            ("", Some(name)) => format!("{} (`{name}`)", self.place),
            (kind, None) => format!("{} ({kind})", self.place),
            (kind, Some(name)) => format!("{} ({kind} `{name}`)", self.place),
        };
        ClusterFileError::Object {
            source_name: self.source.to_owned(),
            object,
            message,
        }
    }
}

/// Parses the objects of all documents and lists.
fn objects<'s>(
    text: &str,
    source: &'s str,
    command: &'static str,
) -> Result<Vec<Object<'s>>, ClusterFileError> {
    let documents = documents(text, source)?;
    if documents.is_empty() {
        return Err(ClusterFileError::Empty {
            source_name: source.to_owned(),
            command,
        });
    }
    let mut objects = Vec::new();
    for (index, mut document) in documents.into_iter().enumerate() {
        let place = format!("document {}", index + 1);
        let kind = document.get("kind").and_then(Value::as_str).unwrap_or("");
        let Some(list_kind) = kind.strip_suffix("List").map(str::to_owned) else {
            objects.push(Object::new(source, place, document, None));
            continue;
        };
        let list_kind = (!list_kind.is_empty()).then_some(list_kind);
        match document.get_mut("items").map(Value::take) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) => {
                objects.extend(items.into_iter().enumerate().map(|(index, item)| {
                    let place = format!("item {}", index + 1);
                    Object::new(source, place, item, list_kind.as_deref())
                }));
            }
            Some(_) => {
                let message = "`items` is not a list".to_owned();
                return Err(Object::new(source, place, document, None).error(message));
            }
        }
    }
    Ok(objects)
}

/// Parses the documents of a YAML stream, or a sequence of JSON texts.
fn documents(text: &str, source: &str) -> Result<Vec<Value>, ClusterFileError> {
    let syntax = |line, column, message: &str| ClusterFileError::Syntax {
        source_name: source.to_owned(),
        line,
        column,
        message: message.to_owned(),
    };
    // Thousands of nodes are megabytes, and the JSON parser is the faster one.
    if text.trim_start().starts_with('{') {
        let values = serde_json::Deserializer::from_str(text).into_iter();
        match values.collect::<Result<Vec<Value>, serde_json::Error>>() {
            Ok(documents) => return Ok(documents),
            Err(error) if serde_saphyr::from_multiple::<Value>(text).is_err() => {
                let message = error.to_string();
                let message = message
                    .rsplit_once(" at line ")
                    .map_or(message.as_str(), |(m, _)| m);
                return Err(syntax(error.line() as u64, error.column() as u64, message));
            }
            // It is a flow mapping of YAML.
            Err(_) => {}
        }
    }
    // The parser's budget protects servers from hostile texts; this is the user's own file.
    let options = serde_saphyr::options! { budget: None };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let (line, column) = error
            .location()
            .map_or((1, 1), |at| (at.line(), at.column()));
        let message = error.without_snippet().to_string();
        let message = message.lines().next().unwrap_or_default();
        let message = message.rsplit_once(" at line ").map_or(message, |(m, _)| m);
        syntax(line, column, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::RuntimeKind;

    const NODE: &str = "kind: Node\nmetadata: {name: n1}\nstatus: {nodeInfo: {containerRuntimeVersion: containerd://2.1}}\n";

    fn nodes_error(text: &str) -> String {
        nodes(text, "nodes.yaml").unwrap_err().to_string()
    }

    fn namespaces_error(text: &str) -> String {
        namespaces(text, "ns.yaml").unwrap_err().to_string()
    }

    #[test]
    fn the_built_in_example_is_valid() {
        let nodes = example_nodes().unwrap();
        assert!(nodes.count_by_runtime()[&RuntimeKind::Containerd] > 0);
        let namespaces = example_namespaces().unwrap();
        assert!(namespaces.get("ci").unwrap().is_enabled());
        assert_eq!(namespaces.get("ci-limited").unwrap().limits.len(), 1);
    }

    #[test]
    fn every_form_that_kubectl_prints_is_parsed() {
        let json = r#"{"kind":"Node","metadata":{"name":"n1"}}"#;
        for (text, count) in [
            (NODE.to_owned(), 1),
            (format!("---\n{NODE}---\n{}", NODE.replace("n1", "n2")), 2),
            (json.to_owned(), 1),
            (format!("{json}\n{}\n", json.replace("n1", "n2")), 2),
            (format!(r#"{{"kind":"List","items":[{json}]}}"#), 1),
            (
                "kind: NodeList\nitems: [{metadata: {name: n1}}]".to_owned(),
                1,
            ),
            ("kind: List\nitems: []".to_owned(), 0),
            ("{kind: List, items: null}".to_owned(), 0),
        ] {
            assert_eq!(nodes(&text, "f").unwrap().len(), count, "{text}");
        }
    }

    #[test]
    fn ten_thousand_nodes_are_parsed() {
        let nth = |i: usize| format!("---\n{}", NODE.replace("n1", &format!("n{i}")));
        let text = (0..10_000).map(nth).collect::<Vec<_>>().concat();
        assert_eq!(nodes(&text, "f").unwrap().len(), 10_000);
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let error = nodes_error("kind: List\nitems:\n- a: [1\n- b\n");
        assert!(error.starts_with("nodes.yaml: line "), "{error}");
        let error = nodes_error("{\"kind\": \"List\",\n \"items\": [}");
        assert!(
            error.starts_with("nodes.yaml: line 2, column 12: "),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn an_error_names_the_bad_object() {
        let list = |item: &str| {
            format!("kind: List\nitems:\n- {{kind: Node, metadata: {{name: a}}}}\n- {item}\n")
        };
        assert_eq!(
            nodes_error(&list("{kind: Pod, metadata: {name: p}}")),
            "nodes.yaml: item 2 (Pod `p`): expected a Node, as `kubectl get nodes -o yaml` prints it, but this is a Pod"
        );
        assert_eq!(
            nodes_error(&list("{kind: Node}")),
            "nodes.yaml: item 2 (Node): it has no metadata.name"
        );
        let error = nodes_error(&list("{kind: Node, metadata: {name: b, labels: {a: [1]}}}"));
        assert!(
            error.starts_with("nodes.yaml: item 2 (Node `b`): invalid type"),
            "{error}"
        );
        assert!(nodes_error(&list("7")).contains("item 2: expected a Node"));
        assert!(nodes_error("kind: List\nitems: 3").contains("`items` is not a list"));
        assert!(nodes_error("# nothing\n").contains("the file is empty"));
    }

    #[test]
    fn an_error_names_the_limit_range_with_a_bad_quantity() {
        let text = |namespace: &str, cpu: &str| {
            format!(
                "kind: LimitRange\nmetadata: {{name: lr, namespace: {namespace}}}\nspec: {{limits: [{{type: Container, max: {{cpu: {cpu}}}}}]}}\n---\nkind: Namespace\nmetadata: {{name: ci}}\n"
            )
        };
        let good = namespaces(&text("ci", "\"2\""), "ns.yaml").unwrap();
        assert_eq!(good.get("ci").unwrap().limits.len(), 1);
        let error = namespaces_error(&text("ci", "2 cores"));
        assert!(
            error.starts_with("ns.yaml: document 1 (LimitRange `lr`): "),
            "{error}"
        );
        let quota = "kind: Namespace\nmetadata: {name: ci}\n---\nkind: ResourceQuota\nmetadata: {name: q, namespace: ci}\nspec: {hard: {memory: 1Gi, pods: 3}}\n";
        let quota = namespaces(quota, "ns.yaml").unwrap();
        assert_eq!(
            quota.get("ci").unwrap().quotas,
            ["requests.memory".to_owned()].into()
        );
        let error = namespaces_error(&text("elsewhere", "\"2\""));
        assert!(
            error.contains("namespace `elsewhere` is not in the file"),
            "{error}"
        );
    }
}
