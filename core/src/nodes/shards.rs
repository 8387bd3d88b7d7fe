//! A map that is cloned in a moment.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
};

/// So many pieces that one of them is small: of 100,000 entries, 400.
const PIECES: usize = 256;

type Piece<V> = HashMap<Arc<str>, V, RandomState>;

/// A map from text, in pieces. Clones share the pieces; a change copies the one that it is in, and
/// only if a clone still shares it.
#[derive(Debug, Clone)]
pub(super) struct Shards<V> {
    pieces: Box<[Arc<Piece<V>>]>,
    hasher: RandomState,
    len: usize,
}

impl<V> Default for Shards<V> {
    fn default() -> Self {
        let hasher = RandomState::new();
        let empty = Arc::new(Piece::with_hasher(hasher.clone()));
        Self {
            pieces: vec![empty; PIECES].into(),
            hasher,
            len: 0,
        }
    }
}

impl<V: Clone> Shards<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.get_key_value(key).map(|(_, value)| value)
    }

    pub(super) fn get_key_value(&self, key: &str) -> Option<(&Arc<str>, &V)> {
        self.pieces.get(self.place(key))?.get_key_value(key)
    }

    pub(super) fn insert(&mut self, key: Arc<str>, value: V) -> Option<V> {
        let place = self.place(&key);
        let piece = Arc::make_mut(self.pieces.get_mut(place)?);
        let before = piece.insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<(Arc<str>, V)> {
        let place = self.place(key);
        let piece = Arc::make_mut(self.pieces.get_mut(place)?);
        let removed = piece.remove_entry(key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }

    fn place(&self, key: &str) -> usize {
        // Bits in the middle: the pieces' own tables use the lowest and the highest.
        let bits = self.hasher.hash_one(key) >> 32;
        usize::try_from(bits).unwrap_or(0) % PIECES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_had() {
        let mut map = Shards::default();
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
    fn a_change_copies_one_piece() {
        let mut map = Shards::default();
        map.insert("a".into(), 1);
        let before = map.clone();
        map.insert("a".into(), 2);
        let pieces = before.pieces.iter().zip(&map.pieces);
        assert_eq!(pieces.filter(|(a, b)| !Arc::ptr_eq(a, b)).count(), 1);
    }
}
