//! A map for what is mostly one: none or one entry takes no allocation, more make a tree.

use std::collections::{BTreeMap, btree_map};
use std::iter::{Chain, Flatten};
use std::option;

/// Ordered by key, so that the same events lead to the same decisions. (A tree's first node has room for eleven entries,
/// whether they come or not.)
#[derive(Debug, Clone)]
pub(super) enum Few<K, V> {
    None,
    One(K, V),
    /// At least two.
    #[allow(
        clippy::box_collection,
        reason = "the empty and the single one, which are most, would be as large as the tree"
    )]
    Many(Box<BTreeMap<K, V>>),
}

impl<K: Ord, V> Few<K, V> {
    pub(super) fn new() -> Self {
        Self::None
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(..) => 1,
            Self::Many(map) => map.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::One(only, value) if only == key => Some(value),
            Self::Many(map) => map.get(key),
            Self::None | Self::One(..) => None,
        }
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self {
            Self::One(only, value) if only == key => Some(value),
            Self::Many(map) => map.get_mut(key),
            Self::None | Self::One(..) => None,
        }
    }

    /// Gives the value that stood there before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self {
            Self::One(only, before) if *only == key => Some(std::mem::replace(before, value)),
            Self::Many(map) => map.insert(key, value),
            Self::None | Self::One(..) => {
                *self = match std::mem::replace(self, Self::None) {
                    Self::One(first, its) => {
                        Self::Many(Box::new(BTreeMap::from([(first, its), (key, value)])))
                    }
                    _ => Self::One(key, value),
                };
                None
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        match self {
            Self::One(only, _) if only == key => match std::mem::replace(self, Self::None) {
                Self::One(_, value) => Some(value),
                _ => None,
            },
            Self::Many(map) => {
                let removed = map.remove(key);
                if map.len() == 1
                    && let Some((last, its)) = map.pop_first()
                {
                    *self = Self::One(last, its);
                }
                removed
            }
            Self::None | Self::One(..) => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(key, value) => (Some((key, value)), None),
            Self::Many(map) => (None, Some(map.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Few<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map: BTreeMap<K, V> = entries.into_iter().collect();
        if map.len() > 1 {
            return Self::Many(Box::new(map));
        }
        map.pop_first().map_or(Self::None, |(key, value)| Self::One(key, value))
    }
}

impl<K, V> IntoIterator for Few<K, V> {
    type Item = (K, V);
    type IntoIter = Chain<option::IntoIter<(K, V)>, Flatten<option::IntoIter<btree_map::IntoIter<K, V>>>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(key, value) => (Some((key, value)), None),
            Self::Many(map) => (None, Some(map.into_iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It does what a tree does, and is one only with more than one entry.
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((any::<bool>(), 0..4u8, any::<u16>()), 0..60)) {
            let (mut few, mut model) = (Few::new(), BTreeMap::new());
            for (inserts, key, value) in steps {
                if inserts {
                    prop_assert_eq!(few.insert(key, value), model.insert(key, value));
                } else {
                    prop_assert_eq!(few.remove(&key), model.remove(&key));
                }
                prop_assert_eq!((few.len(), few.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(matches!(few, Few::Many(_)), model.len() > 1);
                prop_assert!(few.iter().eq(model.iter()));
                for key in 0..4 {
                    prop_assert_eq!(few.get(&key), model.get(&key));
                    prop_assert_eq!(few.get_mut(&key), model.get_mut(&key));
                }
                prop_assert!(few.clone().into_iter().eq(model.clone()));
                prop_assert!(model.clone().into_iter().collect::<Few<_, _>>().iter().eq(model.iter()));
            }
        }
    }
}
