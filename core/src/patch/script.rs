//! The start scripts in the form in which patches carry them.
//!
//! A start script is most of a patch, and a constant. So each is escaped for JSON and encoded as
//! base64 once, and a patch copies the result. Both forms of a script are found by its address:
//! nothing is compared byte by byte.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::operations::UNIT;
use crate::dockerd::StartScript;

/// Shorter texts are not start scripts. Most texts are shorter, and not looked up.
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
    /// The JSON string in base64, filled up with blanks to whole units.
    base64: String,
}

impl Encoded {
    fn new(text: &'static str) -> Option<Self> {
        let json = to_raw_value(text).ok()?;
        let mut units = json.get().to_owned();
        while !units.len().is_multiple_of(UNIT) {
            units.push(' ');
        }
        Some(Self {
            text,
            json,
            base64: STANDARD.encode(units),
        })
    }

    /// Returns the script whose JSON string is this very slice.
    pub(super) fn by_json(json: &[u8]) -> Option<&'static Self> {
        if json.len() < MIN_LEN {
            return None;
        }
        let mut scripts = SCRIPTS.iter();
        scripts.find(|script| std::ptr::eq(script.json.get().as_bytes(), json))
    }

    /// The JSON string.
    pub(super) fn json(&self) -> &str {
        self.json.get()
    }

    /// The JSON string in base64.
    pub(super) fn base64(&self) -> &str {
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
