//! The start scripts, escaped and encoded once for all patches.
//!
//! A start script makes up most of a patch, and it is a constant. So each is escaped for JSON and
//! encoded in base64 once, and patches copy the result. A script is found by its address, without
//! comparing its bytes.

use std::sync::LazyLock;

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::encoding::{pad, push_base64};
use crate::dockerd::StartScript;

/// Start scripts are longer than this. Most texts are shorter, and are not looked up.
const MIN_LEN: usize = 256;

static SCRIPTS: LazyLock<Vec<Encoded>> = LazyLock::new(|| {
    let scripts = StartScript::all().iter().map(StartScript::text);
    scripts.filter_map(Encoded::new).collect()
});

/// A start script, encoded.
pub(super) struct Encoded {
    text: &'static str,
    /// A JSON string.
    json: Box<RawValue>,
    /// The JSON string, [padded](pad), in base64.
    base64: Vec<u8>,
}

impl Encoded {
    fn new(text: &'static str) -> Option<Self> {
        let json = to_raw_value(text).ok()?;
        let mut padded = json.get().as_bytes().to_vec();
        pad(&mut padded);
        let mut base64 = Vec::new();
        push_base64(&mut base64, &padded);
        Some(Self { text, json, base64 })
    }

    /// Returns the script whose JSON string is this very slice.
    pub(super) fn by_json(json: &[u8]) -> Option<&'static Self> {
        if json.len() < MIN_LEN {
            return None;
        }
        let mut scripts = SCRIPTS.iter();
        scripts.find(|script| std::ptr::eq(script.json.get().as_bytes(), json))
    }

    /// Returns the JSON string.
    pub(super) fn json(&self) -> &str {
        self.json.get()
    }

    /// Returns the JSON string in base64.
    pub(super) fn base64(&self) -> &[u8] {
        &self.base64
    }
}

/// A word of a command line, which may be a start script.
pub(super) struct Word<'w>(pub &'w str);

impl Serialize for Word<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0;
        if text.len() >= MIN_LEN
            && let Some(script) = SCRIPTS.iter().find(|s| std::ptr::eq(s.text, text))
        {
            return script.json.serialize(serializer);
        }
        serializer.serialize_str(text)
    }
}
