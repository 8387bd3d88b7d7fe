//! Operations as they are written: JSON text, and that text in base64 as the API server takes it.
//!
//! The bulk of a patch is the start script, which is always the same. So the script is escaped and
//! encoded once, and only the rest again for each pod.

use std::{fmt, sync::LazyLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use json_patch::Patch;
use serde_json::Value;

use crate::inject::StartScript;

/// Base64 makes four characters of three bytes: text can be encoded in pieces of so many bytes.
/// Blanks fill a piece up, which JSON allows between any two values.
const UNIT: usize = 3;
/// What operations take beside the script, mostly.
const USUAL_REST: usize = 4096;

/// In the order of [`StartScript::all`].
static SCRIPTS: LazyLock<Vec<Script>> =
    LazyLock::new(|| StartScript::all().iter().map(Script::of_start).collect());

/// A start script, whole units of a JSON string.
struct Script {
    json: Vec<u8>,
    base64: Vec<u8>,
}

impl Script {
    fn of_start(script: &StartScript) -> Self {
        let mut json = Vec::new();
        push_text(&mut json, script.text());
        fill(&mut json);
        let base64 = STANDARD.encode(&json).into_bytes();
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
    pub(super) fn texts<T: AsRef<str> + 'j>(texts: impl IntoIterator<Item = &'j T>) -> Self {
        let texts = texts.into_iter();
        Self::List(texts.map(|text| Self::Text(text.as_ref())).collect())
    }
}

/// RFC 6902 operations.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Operations {
    /// A list; empty for no operations.
    json: Vec<u8>,
    /// Where in it which script begins, at whole units.
    scripts: Vec<(usize, usize)>,
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

    /// Appends them as JSON in base64.
    pub fn push_base64(&self, out: &mut Vec<u8>) {
        out.reserve(self.json.len().div_ceil(UNIT) * 4);
        let mut done = 0;
        for (start, script) in &self.scripts {
            let Some(script) = SCRIPTS.get(*script) else {
                continue;
            };
            push_base64(out, self.json.get(done..*start).unwrap_or_default());
            out.extend_from_slice(&script.base64);
            done = start + script.json.len();
        }
        push_base64(out, self.json.get(done..).unwrap_or_default());
    }

    /// To be applied here.
    ///
    /// # Errors
    /// Never, but for a defect: they are read back from their JSON.
    pub fn to_patch(&self) -> serde_json::Result<Patch> {
        if self.is_empty() {
            return Ok(Patch::default());
        }
        serde_json::from_slice(&self.json)
    }

    /// Another one. The tokens of `path` are not escaped yet.
    pub(super) fn push(&mut self, op: &str, path: &[&str], value: Option<&Json<'_>>) {
        if self.json.pop().is_some() {
            self.json.push(b',');
        } else {
            self.json.reserve(USUAL_REST);
            self.json.push(b'[');
        }
        self.count += 1;
        self.json.extend_from_slice(b"{\"op\":");
        push_text(&mut self.json, op);
        self.json.extend_from_slice(b",\"path\":");
        push_text(&mut self.json, &pointer(path));
        if let Some(value) = value {
            self.json.extend_from_slice(b",\"value\":");
            self.value(value);
        }
        self.json.extend_from_slice(b"}]");
    }

    fn value(&mut self, value: &Json<'_>) {
        match value {
            Json::Text(text) => self.text(text),
            Json::Number(number) => self.json.extend_from_slice(number.to_string().as_bytes()),
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
            scalar => self.json.extend_from_slice(scalar.to_string().as_bytes()),
        }
    }

    fn text(&mut self, text: &str) {
        let number = StartScript::find(text);
        let Some((number, script)) = number.and_then(|n| Some((n, SCRIPTS.get(n)?))) else {
            push_text(&mut self.json, text);
            return;
        };
        fill(&mut self.json);
        self.scripts.push((self.json.len(), number));
        self.json.extend_from_slice(&script.json);
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
            push_text(&mut self.json, key);
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
        if token.bytes().any(|byte| matches!(byte, b'~' | b'/')) {
            pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
        } else {
            pointer.push_str(token);
        }
    }
    pointer
}

/// Appends a JSON string.
fn push_text(json: &mut Vec<u8>, text: &str) {
    let is_odd = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // Without a way out of the loop, many bytes are looked at together.
    if text.bytes().fold(false, |odd, byte| odd | is_odd(byte)) {
        // Writing to a vector does not fail.
        let _ = serde_json::to_writer(json, text);
        return;
    }
    json.push(b'"');
    json.extend_from_slice(text.as_bytes());
    json.push(b'"');
}

/// Appends bytes in base64.
fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let from = out.len();
    out.resize(from + bytes.len().div_ceil(UNIT) * 4, 0);
    if let Some(room) = out.get_mut(from..) {
        // There is just enough room.
        let _ = STANDARD.encode_slice(bytes, room);
    }
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
        let mut base64 = Vec::new();
        operations.push_base64(&mut base64);
        serde_json::from_slice(&STANDARD.decode(base64).unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_wherever_the_script_stands() {
        for length in 0..4 {
            let (script, filler) = (StartScript::all()[0].text(), "x".repeat(length));
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
        assert!(none.is_empty() && none.to_patch().unwrap().0.is_empty());
    }
}
