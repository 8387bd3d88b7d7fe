//! Operations as they are written: JSON text, and that text in base64 as the API server takes it.
//!
//! The bulk of a patch is the start script, which is always the same. So the script is escaped and
//! encoded once, and only the rest again for each pod.

use std::{fmt, sync::LazyLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use json_patch::Patch;
use serde_json::Value;

use crate::inject::START_SCRIPT;

/// Base64 makes four characters of three bytes: text can be encoded in pieces of so many bytes.
/// Blanks fill a piece up, which JSON allows between any two values.
const UNIT: usize = 3;
/// What operations take beside the script, mostly.
const USUAL_REST: usize = 4096;

static SCRIPT: LazyLock<Script> = LazyLock::new(Script::of_start);

/// The start script, whole units of a JSON string.
struct Script {
    json: Vec<u8>,
    base64: String,
}

impl Script {
    fn of_start() -> Self {
        let mut json = Vec::new();
        push_json(&mut json, START_SCRIPT.as_str());
        fill(&mut json);
        let base64 = STANDARD.encode(&json);
        Self { json, base64 }
    }
}

/// A JSON value that borrows what it is made of.
#[derive(Debug, Clone)]
pub(super) enum Json<'j> {
    Text(&'j str),
    Number(i64),
    True,
    List(Vec<Json<'j>>),
    Map(Vec<(&'j str, Json<'j>)>),
    Value(&'j Value),
}

impl<'j> Json<'j> {
    pub(super) fn texts<T>(texts: impl IntoIterator<Item = &'j T>) -> Self
    where
        T: AsRef<str> + 'j,
    {
        let texts = texts.into_iter();
        Self::List(texts.map(|text| Self::Text(text.as_ref())).collect())
    }
}

/// RFC 6902 operations.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Operations {
    /// A list that is not closed yet; empty for no operations.
    json: Vec<u8>,
    /// Where in it the script begins, at whole units.
    scripts: Vec<usize>,
    count: usize,
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.json))
    }
}

impl Operations {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// As JSON in base64; `None` for none.
    #[must_use]
    pub fn to_base64(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let mut base64 = String::with_capacity(self.json.len() / UNIT * 4 + 8);
        let mut rest = self.json.as_slice();
        let mut at = 0;
        for script in &self.scripts {
            let (before, from) = rest.split_at_checked(script - at)?;
            let after = from.get(SCRIPT.json.len()..)?;
            STANDARD.encode_string(before, &mut base64);
            base64.push_str(&SCRIPT.base64);
            at = script + SCRIPT.json.len();
            rest = after;
        }
        STANDARD.encode_string([rest, b"]"].concat(), &mut base64);
        Some(base64)
    }

    /// To be applied here.
    ///
    /// # Errors
    /// Never, but for a defect: they are read back from their JSON.
    pub fn to_patch(&self) -> serde_json::Result<Patch> {
        if self.is_empty() {
            return Ok(Patch::default());
        }
        serde_json::from_slice(&[&self.json, &b"]"[..]].concat())
    }

    /// Another one. The tokens of `path` are not escaped yet.
    pub(super) fn push(&mut self, op: &str, path: &[&str], value: Option<&Json<'_>>) {
        if self.json.is_empty() {
            let capacity = SCRIPT.json.len() + USUAL_REST;
            self.json.reserve_exact(capacity);
        }
        let separator = if self.is_empty() { b'[' } else { b',' };
        self.count += 1;
        self.json.push(separator);
        self.json.extend_from_slice(b"{\"op\":\"");
        self.json.extend_from_slice(op.as_bytes());
        self.json.extend_from_slice(b"\",\"path\":");
        push_json(&mut self.json, pointer(path));
        if let Some(value) = value {
            self.json.extend_from_slice(b",\"value\":");
            self.value(value);
        }
        self.json.push(b'}');
    }

    fn value(&mut self, value: &Json<'_>) {
        match value {
            Json::Text(text) => self.text(text),
            Json::Number(number) => push_json(&mut self.json, number),
            Json::True => self.json.extend_from_slice(b"true"),
            Json::List(items) => self.list(items, Self::value),
            Json::Map(entries) => self.map(entries.iter().map(|(k, v)| (*k, v)), Self::value),
            Json::Value(value) => self.serde_value(value),
        }
    }

    fn serde_value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => self.list(items, Self::serde_value),
            Value::Object(map) => {
                self.map(map.iter().map(|(k, v)| (k.as_str(), v)), Self::serde_value);
            }
            scalar => push_json(&mut self.json, scalar),
        }
    }

    fn text(&mut self, text: &str) {
        if *text != **START_SCRIPT {
            return push_json(&mut self.json, text);
        }
        fill(&mut self.json);
        self.scripts.push(self.json.len());
        self.json.extend_from_slice(&SCRIPT.json);
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.json.push(b'[');
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.json.push(b',');
            }
            write(self, item);
        }
        self.json.push(b']');
    }

    fn map<'m, T: 'm>(
        &mut self,
        entries: impl Iterator<Item = (&'m str, &'m T)>,
        write: impl Fn(&mut Self, &T),
    ) {
        self.json.push(b'{');
        for (i, (key, value)) in entries.enumerate() {
            if i > 0 {
                self.json.push(b',');
            }
            push_json(&mut self.json, key);
            self.json.push(b':');
            write(self, value);
        }
        self.json.push(b'}');
    }
}

/// A JSON pointer, from its unescaped tokens (`~` and `/` are escaped, RFC 6901).
fn pointer(tokens: &[&str]) -> String {
    let mut pointer = String::with_capacity(64);
    for token in tokens {
        pointer.push('/');
        for part in token.split_inclusive(['~', '/']) {
            match part.strip_suffix(['~', '/']) {
                None => pointer.push_str(part),
                Some(before) => {
                    pointer.push_str(before);
                    pointer.push_str(if part.ends_with('~') { "~0" } else { "~1" });
                }
            }
        }
    }
    pointer
}

fn push_json(json: &mut Vec<u8>, value: impl serde::Serialize) {
    // Writing to a vector does not fail, and all keys are text.
    let _ = serde_json::to_writer(json, &value);
}

/// Fills the last unit up.
fn fill(json: &mut Vec<u8>) {
    json.resize(json.len().next_multiple_of(UNIT), b' ');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decoded(operations: &Operations) -> Value {
        let base64 = operations.to_base64().unwrap();
        serde_json::from_slice(&STANDARD.decode(base64).unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_wherever_the_script_stands() {
        for length in 0..4 {
            let (script, filler) = (START_SCRIPT.as_str(), "x".repeat(length));
            let deep = json!({"a": [], "b": [null, 1.5, true, script], "c": {}});
            let mut operations = Operations::default();
            let list = Json::List(vec![
                Json::Text("\"\\\n"),
                Json::Text(script),
                Json::Number(-7),
                Json::True,
                Json::Value(&deep),
                Json::Map(vec![
                    ("\"", Json::Text("\u{2603}")),
                    ("e", Json::List(vec![])),
                ]),
            ]);
            operations.push(
                "add",
                &["a/b", "~\u{2603}~/", ""],
                Some(&Json::Text(&filler)),
            );
            operations.push("add", &["list"], Some(&list));
            operations.push("replace", &[], Some(&Json::Text(script)));
            operations.push("remove", &["spec", "0"], None);
            let expected = json!([
                {"op": "add", "path": "/a~1b/~0\u{2603}~0~1/", "value": filler},
                {"op": "add", "path": "/list",
                    "value": ["\"\\\n", script, -7, true, deep, {"\"": "\u{2603}", "e": []}]},
                {"op": "replace", "path": "", "value": script},
                {"op": "remove", "path": "/spec/0"},
            ]);
            assert_eq!(decoded(&operations), expected, "{length}");
            assert_eq!(json!(operations.to_patch().unwrap()), expected);
            assert_eq!(operations.len(), 4);
        }
    }

    #[test]
    fn no_operations_are_no_patch() {
        let none = Operations::default();
        assert_eq!(none.to_base64(), None);
        assert!(none.is_empty() && none.to_patch().unwrap().0.is_empty());
    }
}
