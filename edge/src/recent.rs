//! What was seen in the last while, in bounded room: two generations, of which the older is forgotten when the younger is old
//! or full.

use std::hash::Hash;

use hashbrown::HashSet;
use skywave_engine::time::Millis;

#[derive(Debug)]
pub(crate) struct Recent<T> {
    /// One is remembered at least so long, and at most twice as long …
    memory_ms: Millis,
    /// … unless so many others come.
    most: usize,
    young: HashSet<T>,
    old: HashSet<T>,
    since: Millis,
}

impl<T: Eq + Hash> Recent<T> {
    pub(crate) fn new(memory_ms: Millis, most: usize) -> Self {
        Self { memory_ms, most, young: HashSet::new(), old: HashSet::new(), since: 0 }
    }

    /// Remembers it; `false`: it was remembered already.
    pub(crate) fn insert(&mut self, seen: T, now: Millis) -> bool {
        if now >= self.since + self.memory_ms || self.young.len() >= self.most {
            let long_ago = now >= self.since + 2 * self.memory_ms;
            self.old = std::mem::take(&mut self.young);
            if long_ago {
                self.old.clear();
            }
            self.since = now;
        }
        !self.old.contains(&seen) && self.young.insert(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_new_once_a_while() {
        let mut recent = Recent::new(60_000, 100);
        assert!(recent.insert("a", 1_000));
        assert!(!recent.insert("a", 1_001));
        assert!(!recent.insert("a", 60_500), "in the older generation");
        assert!(recent.insert("a", 200_000));
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut recent = Recent::new(60_000, 1_000);
        for n in 0..10_000 {
            recent.insert(n, 5);
        }
        assert!(recent.young.len() + recent.old.len() <= 2_000);
    }
}
