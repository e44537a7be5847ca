//! What a reader has given out lately, as digests: enough to notice that another record stands at a position now.
//!
//! A record may come twice, by the fetch and with its own acknowledgement. The later one must be the same: if it is not, the
//! log was cut and has grown again, and the reader has given out what is in no log any more.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;

use hashbrown::DefaultHashBuilder;
use skywave_ports::log::LogPosition;

/// Records remembered, at most: more than appends of one partition can wait for their acknowledgements.
pub(super) const RECENT: usize = 16_384;

pub(super) struct Recent {
    hasher: DefaultHashBuilder,
    /// Of the positions before `next`.
    digests: VecDeque<u64>,
    next: LogPosition,
}

/// What is known of a record that was given out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Same,
    Other,
    /// It is too long ago, or before the beginning.
    Unknown,
}

impl Recent {
    pub(super) fn new(next: LogPosition) -> Self {
        Self { hasher: DefaultHashBuilder::default(), digests: VecDeque::new(), next }
    }

    /// Position of what is given out next.
    pub(super) fn next(&self) -> LogPosition {
        self.next
    }

    pub(super) fn give_out(&mut self, value: &[u8]) {
        if self.digests.len() == RECENT {
            self.digests.pop_front();
        }
        self.digests.push_back(self.hasher.hash_one(value));
        self.next += 1;
    }

    /// Whether what stands at a position can be compared.
    pub(super) fn remembers(&self, position: LogPosition) -> bool {
        self.digest(position).is_some()
    }

    pub(super) fn check(&self, position: LogPosition, value: &[u8]) -> Again {
        match self.digest(position) {
            Some(digest) if digest == self.hasher.hash_one(value) => Again::Same,
            Some(_) => Again::Other,
            None => Again::Unknown,
        }
    }

    fn digest(&self, position: LogPosition) -> Option<u64> {
        let back = usize::try_from(self.next.checked_sub(position)?).ok()?;
        self.digests.get(self.digests.len().checked_sub(back)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_record_at_a_position_is_told_from_the_same_one() {
        let mut recent = Recent::new(7);
        for value in [b"a", b"b", b"c"] {
            recent.give_out(value);
        }
        assert_eq!(recent.next(), 10);
        assert_eq!([7, 8, 9].map(|at| recent.check(at, b"b")), [Again::Other, Again::Same, Again::Other]);
        assert_eq!([6, 10].map(|at| recent.check(at, b"b")), [Again::Unknown; 2]);
        assert_eq!([6, 7, 9, 10].map(|at| recent.remembers(at)), [false, true, true, false]);
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let mut recent = Recent::new(0);
        for number in 0..=RECENT {
            recent.give_out(&number.to_be_bytes());
        }
        assert_eq!(recent.check(0, &0usize.to_be_bytes()), Again::Unknown);
        assert_eq!(recent.check(1, &1usize.to_be_bytes()), Again::Same);
        assert_eq!(recent.digests.len(), RECENT);
    }
}
