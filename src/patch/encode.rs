//! A patch as the API server takes it: JSON in base64.
//!
//! The bulk of a patch is the start script, which is always the same. So the script is escaped and
//! encoded once, and only the rest again for each pod.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use json_patch::{Patch, PatchOperation, jsonptr::Pointer};
use serde_json::Value;

use crate::inject::START_SCRIPT;

/// Base64 makes four characters of three bytes: text can be encoded in pieces of so many bytes.
/// Blanks fill a piece up, which JSON allows between any two values.
const UNIT: usize = 3;
/// What a patch takes beside the script, mostly.
const USUAL_REST: usize = 4096;

/// The script as a JSON string, in base64.
static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let mut encoder = Encoder::default();
    encoder.write(START_SCRIPT.as_str());
    encoder.flush();
    encoder.base64
});

/// The operations as JSON in base64.
#[must_use]
pub fn encode(patch: &Patch) -> String {
    let mut encoder = Encoder {
        json: Vec::with_capacity(USUAL_REST),
        base64: String::with_capacity(SCRIPT.len() + USUAL_REST),
    };
    encoder.list(&patch.0, Encoder::operation);
    encoder.finish()
}

#[derive(Default)]
struct Encoder {
    /// What is not encoded yet.
    json: Vec<u8>,
    base64: String,
}

impl Encoder {
    fn operation(&mut self, operation: &PatchOperation) {
        match operation {
            PatchOperation::Add(add) => self.put("add", &add.path, &add.value),
            PatchOperation::Replace(replace) => {
                self.put("replace", &replace.path, &replace.value);
            }
            other => self.write(other),
        }
    }

    fn put(&mut self, op: &str, path: &Pointer, value: &Value) {
        self.json.extend_from_slice(b"{\"op\":");
        self.write(op);
        self.json.extend_from_slice(b",\"path\":");
        self.write(path.as_str());
        self.json.extend_from_slice(b",\"value\":");
        self.value(value);
        self.json.push(b'}');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) if *text == *START_SCRIPT => {
                self.flush();
                self.base64.push_str(&SCRIPT);
            }
            Value::Array(items) => self.list(items, Self::value),
            Value::Object(object) => {
                let mut before = b'{';
                for (key, value) in object {
                    self.json.push(before);
                    self.write(key.as_str());
                    self.json.push(b':');
                    self.value(value);
                    before = b',';
                }
                if object.is_empty() {
                    self.json.push(before);
                }
                self.json.push(b'}');
            }
            scalar => self.write(scalar),
        }
    }

    fn list<T>(&mut self, items: &[T], item: impl Fn(&mut Self, &T)) {
        self.json.push(b'[');
        for (i, one) in items.iter().enumerate() {
            if i > 0 {
                self.json.push(b',');
            }
            item(self, one);
        }
        self.json.push(b']');
    }

    fn write(&mut self, value: impl serde::Serialize) {
        // Writing to a vector does not fail, and all keys are text.
        let _ = serde_json::to_writer(&mut self.json, &value);
    }

    /// Encodes all there is, filled up with blanks.
    fn flush(&mut self) {
        let whole = self.json.len().next_multiple_of(UNIT);
        self.json.resize(whole, b' ');
        STANDARD.encode_string(&self.json, &mut self.base64);
        self.json.clear();
    }

    fn finish(mut self) -> String {
        STANDARD.encode_string(&self.json, &mut self.base64);
        self.base64
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decoded(base64: &str) -> Value {
        serde_json::from_slice(&STANDARD.decode(base64).unwrap()).unwrap()
    }

    #[test]
    fn what_is_encoded_is_the_patch_wherever_the_script_stands() {
        for length in 0..4 {
            let script = START_SCRIPT.as_str();
            let operations = json!([
                {"op": "add", "path": "/a~1b/\u{2603}", "value": "x".repeat(length)},
                {"op": "add", "path": "/spec/containers/0/command",
                    "value": ["sh", "-c", script, "\"\\\n", {}, {"a": [], "b": [null, 1.5, true, script]}]},
                {"op": "replace", "path": "", "value": script},
                {"op": "remove", "path": "/spec/containers/1"},
                {"op": "test", "path": "/a", "value": {"b": "c"}},
            ]);
            let patch: Patch = serde_json::from_value(operations.clone()).unwrap();
            assert_eq!(decoded(&encode(&patch)), operations, "{length}");
        }
        assert_eq!(decoded(&encode(&Patch(vec![]))), json!([]));
    }
}
