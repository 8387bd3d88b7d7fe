//! Borrowed JSON values: strings, maps and bounded lists that point into the request's bytes.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::size_limits::ENTRIES;

/// A JSON string, borrowed from the input unless it holds an escape.
///
/// `&str` would fail on escaped strings. A bare `Cow` inside an `Option` or a map would always be
/// allocated, because serde only borrows fields that are marked `borrow`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub struct Str<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Str<'a> {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text for as long as the input lives; copied only when it holds an escape.
    #[must_use]
    pub fn to_cow(&self) -> Cow<'a, str> {
        self.0.clone()
    }
}

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq<&str> for Str<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// A JSON string or number, kept as its text: Kubernetes quantities may be written either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar<'a>(Cow<'a, str>);

impl Scalar<'_> {
    /// Returns the text of the string, or the number as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;

        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a number")
            }

            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Borrowed(v)))
            }

            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Owned(v.to_owned())))
            }

            fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Owned(v.to_string())))
            }

            fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Owned(v.to_string())))
            }

            fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Owned(v.to_string())))
            }
        }

        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A JSON object with borrowed keys, in the order of the input.
///
/// Pods have few labels and annotations, so searching a vector is faster than hashing. As in the API
/// server's decoder, the last of two equal keys counts. At most [`ENTRIES`] + 1 entries are kept; the
/// last one shows that the limit was passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map<'a, V>(Vec<(Str<'a>, V)>);

impl<V> Default for Map<'_, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Map<'_, V> {
    /// Returns the value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&V> {
        self.0
            .iter()
            .rev()
            .find(|(k, _)| k.as_str() == key)
            .map(|(_, v)| v)
    }

    /// Returns all entries in the order of the input.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for Map<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<'a, V>(PhantomData<Map<'a, V>>);

        impl<'de: 'a, 'a, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<'a, V> {
            type Value = Map<'a, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while entries.len() <= ENTRIES
                    && let Some(entry) = map.next_entry()?
                {
                    entries.push(entry);
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Map(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

/// Parses a list that may be absent or `null`. At most `MAX` + 1 items are kept; the last one shows
/// that the limit was passed. The others are skipped, because an item of three bytes in a request can
/// take hundreds of bytes of memory.
pub(super) fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(ItemsVisitor::<T, MAX, 0>(PhantomData))
}

/// Parses a list like [`list`], but allocates room for many items at once.
pub(super) fn long_list<'de, D, T, const MAX: usize>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(ItemsVisitor::<T, MAX, 32>(PhantomData))
}

struct ItemsVisitor<T, const MAX: usize, const ROOM: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize, const ROOM: usize> Visitor<'de>
    for ItemsVisitor<T, MAX, ROOM>
{
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::with_capacity(ROOM);
        while items.len() <= MAX
            && let Some(item) = seq.next_element()?
        {
            items.push(item);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Some(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_strings_are_borrowed_and_escaped_ones_are_owned() {
        let plain: Option<Str<'_>> = serde_json::from_str(r#""abc""#).unwrap();
        assert!(matches!(plain.unwrap().0, Cow::Borrowed("abc")));
        let escaped: Str<'_> = serde_json::from_str(r#""a\nb""#).unwrap();
        assert_eq!(escaped.as_str(), "a\nb");
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        let map: Map<'_, Str<'_>> = serde_json::from_str(r#"{"a":"1","a":"2"}"#).unwrap();
        assert_eq!(map.get("a").unwrap().as_str(), "2");
    }

    #[test]
    fn items_beyond_the_limit_are_skipped_except_for_one() {
        #[derive(Deserialize)]
        struct Lists {
            #[serde(deserialize_with = "list::<_, _, 2>")]
            short: Option<Vec<u8>>,
            #[serde(deserialize_with = "long_list::<_, _, 3>")]
            long: Option<Vec<u8>>,
            after: u8,
        }
        let lists: Lists =
            serde_json::from_str(r#"{"short":[1,2,3,{"a":[4]}],"long":[1,2,3],"after":1}"#)
                .unwrap();
        assert_eq!(lists.short.unwrap(), [1, 2, 3]);
        assert_eq!(lists.long.unwrap(), [1, 2, 3]);
        assert_eq!(lists.after, 1);

        let entries: Vec<String> = (0..2 * ENTRIES).map(|i| format!(r#""{i}":"""#)).collect();
        let text = format!("{{{}}}", entries.join(","));
        let map: Map<'_, Str<'_>> = serde_json::from_str(&text).unwrap();
        assert_eq!(map.len(), ENTRIES + 1);
    }

    #[test]
    fn map_values_are_borrowed_too() {
        let map: Map<'_, Str<'_>> = serde_json::from_str(r#"{"a":"1"}"#).unwrap();
        assert!(matches!(map.get("a").unwrap().0, Cow::Borrowed("1")));
    }

    #[test]
    fn scalars_are_numbers_or_strings() {
        let map: Map<'_, Scalar<'_>> = serde_json::from_str(r#"{"a":2,"b":"1Gi"}"#).unwrap();
        assert_eq!(map.get("a").unwrap().as_str(), "2");
        assert_eq!(map.get("b").unwrap().as_str(), "1Gi");
    }
}
