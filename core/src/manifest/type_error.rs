//! Names the value of a document that has the wrong type: serde only names a column, people need the key.

use serde_json::Value;

use super::pointer::dotted;

/// A value of the wrong type in JSON text of one line.
#[derive(Debug, PartialEq, Eq)]
pub struct TypeError {
    /// The JSON pointer of the value.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
}

impl TypeError {
    /// Explains an error of parsing `json`, which has no line breaks outside of strings.
    #[must_use]
    pub fn new(json: &str, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let said = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(m, _)| m);
        let read = |bytes: usize| path_at(json.as_bytes().get(..bytes).unwrap_or_default());
        let path = if said.starts_with("missing field") {
            // serde notices this at the end of the mapping, when the path still has its last key.
            let mut path = read(error.column().saturating_sub(1));
            path.pop();
            path
        } else {
            read(error.column())
        };
        let pointer: String = path.iter().flat_map(|token| ["/", token]).collect();
        let found = serde_json::from_str::<Value>(json)
            .ok()
            .and_then(|value| value.pointer(&pointer).map(type_name));
        let message = match (said.split_once(", expected "), found) {
            (Some((_, expected)), Some(found)) => {
                format!("expected {}, found {found}", in_words(expected))
            }
            _ => said.to_owned(),
        };
        Self {
            message: format!("{}: {message}", dotted(&pointer)),
            pointer,
        }
    }
}

/// Names a value's type as YAML does.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// Translates serde's words for types into those of YAML.
pub(crate) fn in_words(expected: &str) -> String {
    match expected {
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "a borrowed string" => {
            "text (in quotes if it looks like a number or a truth)".to_owned()
        }
        "u8" | "u16" | "u32" | "i64" | "u64" => "a whole number".to_owned(),
        other if other.starts_with("struct ") => "a mapping".to_owned(),
        other if other.starts_with("internally tagged enum ") => {
            "a mapping with a `type`".to_owned()
        }
        other => other.to_owned(),
    }
}

/// Returns the path to the value that is being read when `json` ends.
fn path_at(json: &[u8]) -> Vec<String> {
    let mut path: Vec<Level> = Vec::new();
    let mut bytes = json.iter().copied().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'{' => path.push(Level::Key(None)),
            b'[' => path.push(Level::Index(0)),
            b'}' | b']' => {
                path.pop();
            }
            b',' => match path.last_mut() {
                Some(Level::Key(key)) => *key = None,
                Some(Level::Index(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let mut escaped = false;
                let end = bytes.find(|(_, b)| {
                    let ends = *b == b'"' && !escaped;
                    escaped = *b == b'\\' && !escaped;
                    ends
                });
                if let (Some(Level::Key(key @ None)), Some((end, _))) = (path.last_mut(), end) {
                    let text = json.get(at..=end).unwrap_or_default();
                    *key = serde_json::from_slice(text).ok();
                }
            }
            _ => {}
        }
    }
    path.into_iter().map_while(Level::token).collect()
}

/// An object or a list that is being read, at its current key or index.
enum Level {
    Key(Option<String>),
    Index(usize),
}

impl Level {
    /// Returns the token of a JSON pointer; `None` in a mapping before its first key.
    fn token(self) -> Option<String> {
        match self {
            Self::Key(key) => key.map(|key| key.replace('~', "~0").replace('/', "~1")),
            Self::Index(index) => Some(index.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::Pod;

    #[test]
    fn the_value_of_the_wrong_type_is_named() {
        for (pod, pointer, message) in [
            (
                json!({"spec": {"containers": "x"}}),
                "/spec/containers",
                "spec.containers: expected a list, found text",
            ),
            (
                json!({"spec": {"containers": {"a": 1}}}),
                "/spec/containers",
                "spec.containers: expected a list, found a mapping",
            ),
            (
                json!({"spec": {"volumes": [], "containers": [{"name": "a"}, {"name": 5}]}}),
                "/spec/containers/1/name",
                "spec.containers[1].name: expected text (in quotes if it looks like a number or a truth), found a number",
            ),
            (
                json!({"spec": {"containers": [{"name": "a", "env": [{"name": "A", "value": true}]}]}}),
                "/spec/containers/0/env/0/value",
                "spec.containers[0].env[0].value: expected text (in quotes if it looks like a number or a truth), found true or false",
            ),
            (
                json!({"spec": {"containers": [{"name": "a", "args": [["x"]]}]}}),
                "/spec/containers/0/args/0",
                "found a list",
            ),
            (
                json!({"spec": {"containers": [{"name": "a"}, {"image": "a"}]}}),
                "/spec/containers/1",
                "spec.containers[1]: missing field `name`",
            ),
            (
                json!({"metadata": {"labels": {"a\"}/b": 1}}}),
                "/metadata/labels/a\"}~1b",
                "found a number",
            ),
            (json!({"spec": []}), "/spec", "spec: "),
        ] {
            let text = pod.to_string();
            let error = Pod::parse(text.as_bytes()).unwrap_err();
            let found = TypeError::new(&text, &error);
            assert_eq!(found.pointer, pointer, "{error}: {text}");
            assert!(found.message.contains(message), "{}", found.message);
        }
    }
}
