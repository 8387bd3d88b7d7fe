//! A map whose clones cost little: they share its shards.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
};

/// Chosen so that copying a shard is cheap: it holds 400 of 100,000 entries.
const SHARDS: usize = 256;

type Shard<V> = HashMap<Arc<str>, V, RandomState>;

/// A map from text to `V`. Clones share its shards. A change copies one shard, if a clone still
/// shares it.
#[derive(Debug, Clone)]
pub(super) struct ShardedMap<V> {
    shards: Box<[Arc<Shard<V>>]>,
    hasher: RandomState,
    len: usize,
}

impl<V> Default for ShardedMap<V> {
    fn default() -> Self {
        let hasher = RandomState::new();
        let empty = Arc::new(Shard::with_hasher(hasher.clone()));
        Self {
            shards: vec![empty; SHARDS].into(),
            hasher,
            len: 0,
        }
    }
}

impl<V: Clone> ShardedMap<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.get_key_value(key).map(|(_, value)| value)
    }

    pub(super) fn get_key_value(&self, key: &str) -> Option<(&Arc<str>, &V)> {
        self.shards.get(self.shard_of(key))?.get_key_value(key)
    }

    pub(super) fn insert(&mut self, key: Arc<str>, value: V) -> Option<V> {
        let index = self.shard_of(&key);
        let shard = Arc::make_mut(self.shards.get_mut(index)?);
        let replaced = shard.insert(key, value);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<(Arc<str>, V)> {
        let index = self.shard_of(key);
        let shard = Arc::make_mut(self.shards.get_mut(index)?);
        let removed = shard.remove_entry(key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    fn shard_of(&self, key: &str) -> usize {
        // The middle bits: the shards' own hash tables use the lowest and the highest.
        let bits = self.hasher.hash_one(key) >> 32;
        usize::try_from(bits).unwrap_or(0) % SHARDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_does_not_change_with_its_original() {
        let mut map = ShardedMap::default();
        for i in 0..2000 {
            assert_eq!(map.insert(i.to_string().into(), i), None);
        }
        let before = map.clone();
        assert_eq!(map.insert("7".into(), 70), Some(7));
        assert_eq!(map.remove("8").unwrap().1, 8);
        assert_eq!(map.remove("none"), None);
        assert_eq!((before.get("7"), before.get("8")), (Some(&7), Some(&8)));
        assert_eq!((map.get("7"), map.get("8")), (Some(&70), None));
        assert_eq!((before.len(), map.len()), (2000, 1999));
        assert_eq!(map.iter().count(), 1999);
    }

    #[test]
    fn a_change_copies_one_shard_only() {
        let mut map = ShardedMap::default();
        map.insert("a".into(), 1);
        let before = map.clone();
        map.insert("a".into(), 2);
        let shards = before.shards.iter().zip(&map.shards);
        assert_eq!(shards.filter(|(a, b)| !Arc::ptr_eq(a, b)).count(), 1);
    }
}
