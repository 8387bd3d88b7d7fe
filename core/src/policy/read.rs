//! Reads a policy file, and finds everything in it that cannot be read.
//!
//! serde stops at the first error. To find the others, whatever is wrong is taken out of a copy of the
//! document and the rest is read again, until all of it can be read.

use serde_json::{Map, Value};
use serde_path_to_error as path_to_error;

use super::{
    PolicyError, PolicyFile,
    key_path::{KeyPath, Segment},
    suggest::{UNKNOWN_KEY, with_suggestion},
};
use crate::manifest::{Position, PositionTree, type_error::in_words};

/// More errors than anyone fixes in one go.
const MAX_ERRORS: usize = 100;

/// What could be read of a policy file.
pub(super) struct Reading {
    /// The file, without what could not be read.
    pub file: PolicyFile,
    /// What could not be read.
    pub errors: Vec<PolicyError>,
    /// The places of all keys and values.
    locations: Option<PositionTree>,
    /// The paths of the errors.
    refused: Vec<KeyPath>,
    /// Items that were taken out of lists, in this order: the list, and the index that the item had.
    removed_items: Vec<(KeyPath, usize)>,
}

/// Reads a policy file.
///
/// # Errors
/// When nothing of the text can be read: it is empty, not YAML, or not a mapping.
pub(super) fn read(yaml: &str) -> Result<Reading, PolicyError> {
    let first_error = match serde_saphyr::from_str::<Option<PolicyFile>>(yaml) {
        Ok(Some(file)) => return Ok(Reading::of(file, locations(yaml))),
        Ok(None) => return Err(empty()),
        Err(error) => of_yaml(&error),
    };
    // A text that is YAML has keys and values that can be told apart and reported one by one.
    let document = serde_saphyr::from_str::<Value>(yaml);
    let (Ok(mut document), Some(locations)) = (document, locations(yaml)) else {
        return Err(first_error);
    };
    let mut reading = Reading::of(PolicyFile::default(), Some(locations));
    reading.read_rest(&mut document);
    if reading.errors.is_empty() {
        reading.errors.push(first_error);
    }
    Ok(reading)
}

fn locations(yaml: &str) -> Option<PositionTree> {
    PositionTree::read(yaml, serde_saphyr::options! { with_snippet: false })
}

/// An empty text is more often an accident than intended, and the built-in policy may allow more than the
/// intended one.
fn empty() -> PolicyError {
    PolicyError {
        position: None,
        path: None,
        message: "the file is empty; write `{}` for the built-in policy".to_owned(),
    }
}

fn of_yaml(error: &serde_saphyr::Error) -> PolicyError {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    let message = text.rsplit_once(" at line ").map_or(text, |(m, _)| m);
    let position = error
        .location()
        .map_or(Position::START, |at| Position::new(at.line(), at.column()));
    PolicyError {
        position: Some(position),
        path: None,
        message: with_suggestion(message),
    }
}

impl Reading {
    fn of(file: PolicyFile, locations: Option<PositionTree>) -> Self {
        Self {
            file,
            errors: Vec::new(),
            locations,
            refused: Vec::new(),
            removed_items: Vec::new(),
        }
    }

    /// Adds an error about the value at `path`, a path in `file`. An error that follows from what could not be
    /// read is left out.
    pub(super) fn refuse(&mut self, path: KeyPath, message: String) {
        let path = self.in_document(path);
        if self.refused.iter().any(|other| other.is_related_to(&path)) {
            return;
        }
        // The name of an unknown key is in the message.
        let is_unknown = message.starts_with(UNKNOWN_KEY);
        let position = self.locations.as_ref().map(|all| {
            if is_unknown {
                all.key_at(&path.pointer())
            } else {
                all.at(&path.pointer())
            }
        });
        self.refused.push(path.clone());
        self.errors.push(PolicyError {
            position,
            path: (!is_unknown).then_some(path),
            message,
        });
    }

    /// Reads what can be read of a document, and records each error on the way.
    fn read_rest(&mut self, document: &mut Value) {
        let mut retried = None;
        while self.errors.len() < MAX_ERRORS {
            let error = match path_to_error::deserialize(&*document) {
                Ok(file) => {
                    self.file = file;
                    return;
                }
                Err(error) => error,
            };
            let path = KeyPath::from(error.path());
            let value = document.pointer_mut(&path.pointer());
            if retried.as_ref() != Some(&path)
                && let Some((value, other)) = value.and_then(other_form)
            {
                *value = other;
                retried = Some(path);
                continue;
            }
            self.refuse(path.clone(), message_of(error.inner()));
            if !self.take_out(document, &path) {
                return;
            }
        }
    }

    /// Takes a value out of the document. A mapping is put in its place first, so that what refers to it still
    /// finds something: a namespace's profile, for one. Returns whether there was anything to take out.
    fn take_out(&mut self, document: &mut Value, path: &KeyPath) -> bool {
        if let Some(value) = document.pointer_mut(&path.pointer())
            && !value.is_object()
        {
            *value = Value::Object(Map::new());
            return true;
        }
        let Some((parent, last)) = path.split_last() else {
            return false;
        };
        match (document.pointer_mut(&parent.pointer()), last) {
            (Some(Value::Array(items)), Segment::Index(index)) if index < items.len() => {
                items.remove(index);
                self.removed_items.push((parent, index));
                true
            }
            (Some(Value::Object(map)), Segment::Key(key)) => map.shift_remove(&key).is_some(),
            _ => false,
        }
    }

    /// Returns the path in the whole document of a path in what is left of it.
    fn in_document(&self, mut path: KeyPath) -> KeyPath {
        for (list, index) in self.removed_items.iter().rev() {
            path.restore_item(list, *index);
        }
        path
    }
}

/// Returns a scalar, and what else it may be: in YAML, text need not be in quotes, and a number may be.
fn other_form(value: &mut Value) -> Option<(&mut Value, Value)> {
    let other = match value {
        Value::Number(_) | Value::Bool(_) => Value::String(value.to_string()),
        Value::String(text) => serde_json::from_str(text).ok()?,
        _ => return None,
    };
    Some((value, other))
}

/// Returns serde's message in the words of people who write YAML.
fn message_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let Some((found, expected)) = text
        .strip_prefix("invalid type: ")
        .and_then(|rest| rest.split_once(", expected "))
    else {
        return with_suggestion(&text);
    };
    let found = match found {
        "map" => "a mapping",
        "sequence" => "a list",
        "null" => "nothing",
        scalar => scalar
            .split_once(' ')
            .map_or(scalar, |(_, value)| value.trim_matches('`')),
    };
    format!("expected {}, found {found}", in_words(expected))
}
