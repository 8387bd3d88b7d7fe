//! A JSON object that knows its path in the resource, so that errors can name the field.

use serde_json::{Map, Value};

use super::ArcError;

/// The type of a field.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Object,
    List,
    Text,
    Flag,
    Integer,
    Quantity,
}

impl Kind {
    fn admits(self, value: &Value) -> bool {
        match self {
            Self::Object => value.is_object(),
            Self::List => value.is_array(),
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Integer => value.is_i64(),
            Self::Quantity => value.is_string() || value.is_number(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::List => "a list",
            Self::Text => "a string",
            Self::Flag => "true or false",
            Self::Integer => "an integer",
            Self::Quantity => "a quantity",
        }
    }
}

/// A JSON object and its path from the top of the resource.
///
/// A field that is null, or an empty string or list, reads as absent, as for the controller.
pub(super) struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    pub(super) fn new(path: &str, value: &Value) -> Result<Self, ArcError> {
        let map = value
            .as_object()
            .ok_or_else(|| wrong_type(path, Kind::Object, value))?;
        Ok(Self {
            path: path.to_owned(),
            map: map.clone(),
        })
    }

    /// Returns the object's value, with the fields named in `order` first.
    pub(super) fn into_value(mut self, order: &[&str]) -> Value {
        let mut ordered = Map::new();
        for key in order {
            if let Some(value) = self.map.shift_remove(*key) {
                ordered.insert((*key).to_owned(), value);
            }
        }
        ordered.append(&mut self.map);
        Value::Object(ordered)
    }

    pub(super) fn get(&self, key: &str, kind: Kind) -> Result<Option<&Value>, ArcError> {
        match self.map.get(key) {
            Some(value) if kind.admits(value) => Ok(Some(value).filter(|value| !is_blank(value))),
            None | Some(Value::Null) => Ok(None),
            Some(value) => Err(wrong_type(&self.path_of(key), kind, value)),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, ArcError> {
        Ok(self.get(key, Kind::Text)?.and_then(Value::as_str))
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ArcError> {
        Ok(self.get(key, Kind::Flag)?.and_then(Value::as_bool))
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>, ArcError> {
        Ok(self.get(key, Kind::Integer)?.and_then(Value::as_i64))
    }

    pub(super) fn list(&self, key: &str) -> Result<Vec<Value>, ArcError> {
        Ok(self
            .get(key, Kind::List)?
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default())
    }

    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, ArcError> {
        self.items(key, |path, item| {
            item.as_str()
                .map(str::to_owned)
                .ok_or_else(|| wrong_type(path, Kind::Text, item))
        })
    }

    pub(super) fn objects(&self, key: &str) -> Result<Vec<Self>, ArcError> {
        self.items(key, Self::new)
    }

    fn items<T>(
        &self,
        key: &str,
        read: impl Fn(&str, &Value) -> Result<T, ArcError>,
    ) -> Result<Vec<T>, ArcError> {
        let path = self.path_of(key);
        self.list(key)?
            .iter()
            .enumerate()
            .map(|(index, item)| read(&format!("{path}[{index}]"), item))
            .collect()
    }

    /// The object under `key`, an empty one where there is none.
    pub(super) fn object(&self, key: &str) -> Result<Self, ArcError> {
        let map = self
            .get(key, Kind::Object)?
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        Ok(Self {
            path: self.path_of(key),
            map,
        })
    }

    pub(super) fn required_object(&self, key: &str) -> Result<Self, ArcError> {
        self.required(key, Kind::Object)?;
        self.object(key)
    }

    pub(super) fn required_text(&self, key: &str) -> Result<&str, ArcError> {
        self.required(key, Kind::Text)?;
        Ok(self.text(key)?.unwrap_or_default())
    }

    fn required(&self, key: &str, kind: Kind) -> Result<(), ArcError> {
        self.get(key, kind)?
            .map(|_| ())
            .ok_or_else(|| wrong_type(&self.path_of(key), kind, &Value::Null))
    }

    /// Whether a quantity is given and is zero, in whatever unit.
    pub(super) fn is_zero_quantity(&self, key: &str) -> Result<bool, ArcError> {
        let Some(quantity) = self.get(key, Kind::Quantity)? else {
            return Ok(false);
        };
        let digits = quantity
            .as_str()
            .map_or_else(|| quantity.to_string(), str::to_owned);
        let number = digits
            .trim_start_matches(['+', '-'])
            .trim_start_matches(['0', '.']);
        Ok(!number.starts_with(|digit: char| digit.is_ascii_digit()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    pub(super) fn has_name(&self, name: &str) -> bool {
        self.map.get("name").is_some_and(|value| value == name)
    }

    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.map.insert(key.to_owned(), value);
    }

    /// Sets a field that is absent or blank, unless the value is blank too.
    pub(super) fn fill(&mut self, key: &str, value: Option<Value>) {
        if let Some(value) = value
            && !is_blank(&value)
            && self.map.get(key).is_none_or(is_blank)
        {
            self.set(key, value);
        }
    }

    /// Does what [`Fields::fill`] does, with a field of another object.
    pub(super) fn fill_from(
        &mut self,
        key: &str,
        source: &Self,
        source_key: &str,
        kind: Kind,
    ) -> Result<(), ArcError> {
        self.fill(key, source.get(source_key, kind)?.cloned());
        Ok(())
    }

    pub(super) fn append(&mut self, key: &str, items: Vec<Value>) -> Result<(), ArcError> {
        let mut list = self.list(key)?;
        list.extend(items);
        if !list.is_empty() {
            self.set(key, Value::Array(list));
        }
        Ok(())
    }

    /// Appends an item, unless the list has an item of the same name.
    pub(super) fn append_unless_named(&mut self, key: &str, item: Value) -> Result<(), ArcError> {
        let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
        if has_named(&self.list(key)?, name) {
            Ok(())
        } else {
            self.append(key, vec![item])
        }
    }

    pub(super) fn remove_named(&mut self, key: &str, name: &str) -> Result<(), ArcError> {
        let mut list = self.list(key)?;
        list.retain(|item| !is_named(item, name));
        self.set(key, Value::Array(list));
        Ok(())
    }

    pub(super) fn refuse(&self, key: &str, why: &'static str) -> ArcError {
        ArcError::Refused {
            path: self.path_of(key),
            why,
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

pub(super) fn has_named(items: &[Value], name: &str) -> bool {
    items.iter().any(|item| is_named(item, name))
}

fn is_named(item: &Value, name: &str) -> bool {
    item.get("name").is_some_and(|value| value == name)
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn wrong_type(path: &str, expected: Kind, found: &Value) -> ArcError {
    let found = match found {
        Value::Null => "nothing".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        scalar => scalar.to_string().chars().take(60).collect(),
    };
    let path = if path.is_empty() {
        "the resource"
    } else {
        path
    };
    ArcError::WrongType {
        path: path.to_owned(),
        expected: expected.words(),
        found,
    }
}
