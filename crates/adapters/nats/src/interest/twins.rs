//! Makes one message of two while a subject is fed by an exact subscription and by a wildcard at the same time.
//!
//! What comes on both is delivered when its first copy arrives and dropped when the second does; what comes on one only
//! is delivered. Copies are known by a keyed hash of their bytes, counted, so that equal messages are told apart by their
//! number. The server may put the copies of two publishers in another order on either side; counting does not mind.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};

/// Which way a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Exact,
    Wildcard,
}

/// Messages of one subject of which only one copy has come so far.
#[derive(Debug, Default)]
pub(super) struct Twins {
    hasher: DefaultHashBuilder,
    /// How many more came exactly than with the wildcard; never zero.
    ahead: HashMap<u64, i32>,
}

impl Twins {
    /// Whether the message is the second copy of one that came the other way.
    pub(super) fn is_second(&mut self, origin: Origin, payload: &[u8]) -> bool {
        let step = match origin {
            Origin::Exact => 1,
            Origin::Wildcard => -1,
        };
        let hash = self.hasher.hash_one(payload);
        let ahead = self.ahead.entry(hash).or_insert(0);
        let second = *ahead * step < 0;
        *ahead += step;
        if *ahead == 0 {
            self.ahead.remove(&hash);
        }
        second
    }
}

#[cfg(test)]
mod tests {
    use super::Origin::{Exact, Wildcard};
    use super::*;

    /// What is delivered of what arrives.
    fn delivered(arrivals: &[(Origin, &str)]) -> Vec<String> {
        let mut twins = Twins::default();
        let first = arrivals.iter().filter(|(origin, payload)| !twins.is_second(*origin, payload.as_bytes()));
        first.map(|(_, payload)| (*payload).to_owned()).collect()
    }

    #[test]
    fn both_copies_make_one_whichever_comes_first() {
        assert_eq!(delivered(&[(Exact, "a"), (Wildcard, "a"), (Wildcard, "b"), (Exact, "b")]), ["a", "b"]);
        assert_eq!(delivered(&[(Exact, "a"), (Exact, "b"), (Wildcard, "b"), (Wildcard, "a")]), ["a", "b"]);
    }

    #[test]
    fn what_comes_one_way_only_is_delivered() {
        assert_eq!(
            delivered(&[(Exact, "a"), (Exact, "b"), (Wildcard, "b"), (Wildcard, "c")]),
            ["a", "b", "c"]
        );
    }

    #[test]
    fn equal_messages_are_counted() {
        let arrivals = [(Exact, "a"), (Exact, "a"), (Wildcard, "a"), (Wildcard, "a"), (Wildcard, "a")];
        assert_eq!(delivered(&arrivals), ["a", "a", "a"]);
    }

    #[test]
    fn nothing_is_kept_of_complete_pairs() {
        let mut twins = Twins::default();
        for n in 0..1_000u32 {
            assert!(!twins.is_second(Exact, &n.to_be_bytes()));
            assert!(twins.is_second(Wildcard, &n.to_be_bytes()));
        }
        assert!(twins.ahead.is_empty());
    }
}
