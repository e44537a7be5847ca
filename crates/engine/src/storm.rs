//! Gives back the memory that a storm has left behind in a table: of joins, of publishes, of clients that come back.
//!
//! A table that is nearly empty shrinks to twice what it holds, so that it moves each entry but a few times in its life.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash};

use hashbrown::HashMap;

/// Entries that a table keeps room for, however empty it is.
pub const ROOM: usize = 1_024;

/// To be called when an entry was taken out.
pub trait GiveBack {
    fn give_back(&mut self);
}

/// What a table of this size and capacity shrinks to, if it does.
fn smaller(len: usize, capacity: usize) -> Option<usize> {
    (capacity > 2 * ROOM && len < capacity / 8).then_some(2 * len)
}

impl<K: Eq + Hash, V, S: BuildHasher> GiveBack for HashMap<K, V, S> {
    fn give_back(&mut self) {
        if let Some(capacity) = smaller(self.len(), self.capacity()) {
            self.shrink_to(capacity.max(ROOM));
        }
    }
}

impl<T> GiveBack for VecDeque<T> {
    fn give_back(&mut self) {
        if let Some(capacity) = smaller(self.len(), self.capacity()) {
            self.shrink_to(capacity.max(ROOM));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_leaves_little_and_each_entry_is_moved_a_few_times() {
        const STORM: usize = 100_000;
        let mut table: HashMap<usize, usize> = (0..STORM).map(|n| (n, n)).collect();
        let mut queue: VecDeque<usize> = (0..STORM).collect();
        let mut moved = 0;
        for n in 0..STORM {
            table.remove(&n);
            queue.pop_front();
            let before = table.capacity();
            table.give_back();
            queue.give_back();
            moved += if table.capacity() < before { table.len() } else { 0 };
            assert_eq!(table.get(&(STORM - 1)).is_some(), n < STORM - 1);
        }
        assert!(table.capacity() <= 2 * ROOM && queue.capacity() <= 2 * ROOM);
        assert!(moved <= STORM, "{moved}");
    }

    #[test]
    fn what_is_small_or_in_use_stays() {
        let mut small: HashMap<usize, ()> = HashMap::with_capacity(ROOM);
        let mut used: VecDeque<usize> = (0..4 * ROOM).collect();
        let before = (small.capacity(), used.capacity());
        small.give_back();
        used.give_back();
        assert_eq!((small.capacity(), used.capacity()), before);
    }
}
