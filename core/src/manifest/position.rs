//! Positions in files: the line and column of each value.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

/// A line and a column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl Position {
    /// Creates a position.
    #[must_use]
    pub fn new(line: u64, column: u64) -> Self {
        Self { line, column }
    }

    /// The beginning of a text.
    pub const START: Self = Self { line: 1, column: 1 };

    /// Returns the position after `text`, which begins here.
    #[must_use]
    pub fn after(self, text: &str) -> Self {
        let lines = text.matches('\n').count();
        let last = text.rsplit('\n').next().unwrap_or_default();
        self.of(Self::new(lines as u64 + 1, last.chars().count() as u64 + 1))
    }

    /// Returns the position `inner`, which counts from here, as one that counts like this one.
    #[must_use]
    pub fn of(self, inner: Self) -> Self {
        let column = if inner.line == 1 {
            self.column + inner.column.saturating_sub(1)
        } else {
            inner.column
        };
        Self::new(self.line + inner.line.saturating_sub(1), column)
    }
}

/// The positions of a document's values, as a tree like the values.
#[derive(Debug)]
pub(crate) struct PositionTree {
    position: Position,
    children: Children,
}

#[derive(Debug)]
enum Children {
    None,
    List(Vec<PositionTree>),
    Map(Vec<(Spanned<String>, PositionTree)>),
}

impl PositionTree {
    /// Reads the positions in YAML; `None` when it is not YAML.
    pub(crate) fn read(text: &str, options: serde_saphyr::Options) -> Option<Self> {
        serde_saphyr::from_str_with_options(text, options).ok()
    }

    /// Returns the position of the value at a JSON pointer, or of its nearest ancestor.
    pub(crate) fn at(&self, pointer: &str) -> Position {
        self.find(pointer).value
    }

    /// Returns the position of the key of the value at a JSON pointer. An item of a list has no key; its
    /// own position is returned.
    pub(crate) fn key_at(&self, pointer: &str) -> Position {
        self.find(pointer).key
    }

    fn find(&self, pointer: &str) -> Found {
        let (mut tree, mut key) = (self, self.position);
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let child = match &tree.children {
                Children::None => None,
                Children::List(list) => {
                    let item = token.parse().ok().and_then(|i: usize| list.get(i));
                    item.map(|item| (item.position, item))
                }
                Children::Map(map) => {
                    let entry = map.iter().find(|(key, _)| key.value == token);
                    entry.map(|(key, value)| (position_of(key), value))
                }
            };
            let Some(child) = child else { break };
            (key, tree) = child;
        }
        Found {
            key,
            value: tree.position,
        }
    }
}

/// The positions of a key and its value.
struct Found {
    key: Position,
    value: Position,
}

fn position_of<T>(spanned: &Spanned<T>) -> Position {
    Position::new(spanned.referenced.line(), spanned.referenced.column())
}

impl<'de> Deserialize<'de> for PositionTree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Children>::deserialize(deserializer)?;
        Ok(Self {
            position: position_of(&spanned),
            children: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Children {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChildrenVisitor)
    }
}

struct ChildrenVisitor;

impl<'de> Visitor<'de> for ChildrenVisitor {
    type Value = Children;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Children, E> {
        Ok(Children::None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Children, E> {
        Ok(Children::None)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Children, E> {
        Ok(Children::None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Children, E> {
        Ok(Children::None)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Children, E> {
        Ok(Children::None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Children, E> {
        Ok(Children::None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Children, E> {
        Ok(Children::None)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Children, E> {
        Ok(Children::None)
    }

    fn visit_unit<E>(self) -> Result<Children, E> {
        Ok(Children::None)
    }

    fn visit_none<E>(self) -> Result<Children, E> {
        Ok(Children::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Children, D::Error> {
        Children::deserialize(inner)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Children, D::Error> {
        Children::deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Children, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Children::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Children, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key()? {
            entries.push((key, map.next_value()?));
        }
        Ok(Children::Map(entries))
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, data: A) -> Result<Children, A::Error> {
        data.variant::<IgnoredAny>().map(|_| Children::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_have_positions_of_their_own() {
        let tree = PositionTree::read("a:\n  b: [x, y]\n", serde_saphyr::options! {}).unwrap();
        assert_eq!(tree.key_at("/a/b"), Position::new(2, 3));
        assert_eq!(tree.at("/a/b"), Position::new(2, 6));
        assert_eq!(tree.key_at("/a/b/1"), Position::new(2, 10));
        assert_eq!(tree.key_at("/a/missing"), Position::new(1, 1));
    }

    #[test]
    fn positions_count_from_the_start_of_the_document() {
        let start = Position::START.after("a\nbc");
        assert_eq!(start, Position::new(2, 3));
        assert_eq!(start.of(Position::new(1, 4)), Position::new(2, 6));
        assert_eq!(start.of(Position::new(3, 4)), Position::new(4, 4));
    }
}
