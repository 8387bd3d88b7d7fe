//! Paths of keys in the policy file.

use std::fmt::{self, Write as _};

use serde_path_to_error as path_to_error;

/// The path of a key, such as `profiles.fast.dind.registryMirrors[1]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPath(Vec<Segment>);

/// A segment of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// To the value of a key.
    Key(String),
    /// To an item of a list.
    Index(usize),
}

impl KeyPath {
    /// Returns the path of constant keys, joined by dots, below this one.
    pub(super) fn at(&self, keys: &str) -> Self {
        keys.split('.').fold(self.clone(), Self::key)
    }

    /// Returns the path of a key, which may hold dots, below this one.
    pub(super) fn key(mut self, key: impl Into<String>) -> Self {
        self.0.push(Segment::Key(key.into()));
        self
    }

    /// Returns the path of an item of this list.
    pub(super) fn index(mut self, index: usize) -> Self {
        self.0.push(Segment::Index(index));
        self
    }

    /// Returns the JSON pointer (RFC 6901) of the value.
    pub(super) fn pointer(&self) -> String {
        let mut pointer = String::new();
        for segment in &self.0 {
            pointer.push('/');
            match segment {
                Segment::Key(key) => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
                Segment::Index(index) => pointer.push_str(&index.to_string()),
            }
        }
        pointer
    }

    /// Returns whether one of two paths leads through the other.
    pub(super) fn is_related_to(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }

    /// Corrects the path for an item that was taken out of the list at `list`, with the `index` that it had.
    pub(super) fn restore_item(&mut self, list: &Self, index: usize) {
        if self.0.starts_with(&list.0)
            && let Some(Segment::Index(own)) = self.0.get_mut(list.0.len())
            && *own >= index
        {
            *own += 1;
        }
    }

    /// Returns the path of the mapping or list that holds the value, and the last segment.
    pub(super) fn split_last(&self) -> Option<(Self, Segment)> {
        let (last, parent) = self.0.split_last()?;
        Some((Self(parent.to_vec()), last.clone()))
    }
}

impl From<&path_to_error::Path> for KeyPath {
    fn from(path: &path_to_error::Path) -> Self {
        let own = |segment: &path_to_error::Segment| match segment {
            path_to_error::Segment::Seq { index } => Some(Segment::Index(*index)),
            path_to_error::Segment::Map { key } => Some(Segment::Key(key.clone())),
            // Not of the document.
            path_to_error::Segment::Enum { .. } | path_to_error::Segment::Unknown => None,
        };
        Self(path.iter().filter_map(own).collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) => {
                    if at > 0 {
                        f.write_char('.')?;
                    }
                    f.write_str(key)?;
                }
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_for_people_and_as_a_pointer() {
        let path = KeyPath::default()
            .at("profiles")
            .key("0")
            .key("a.b/c")
            .index(1);
        assert_eq!(path.to_string(), "profiles.0.a.b/c[1]");
        assert_eq!(path.pointer(), "/profiles/0/a.b~1c/1");
    }

    #[test]
    fn items_behind_one_that_was_taken_out_get_their_index_back() {
        let list = KeyPath::default().at("a.b");
        for (index, taken_out, restored) in [(0, 1, 0), (1, 1, 2), (2, 1, 3)] {
            let mut path = list.clone().index(index).at("c");
            path.restore_item(&list, taken_out);
            assert_eq!(path, list.clone().index(restored).at("c"));
        }
    }
}
