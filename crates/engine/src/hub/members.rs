//! Who is in a channel: the members, live or catching up, counted per worker, and those still waiting for their join to
//! be decided.

use hashbrown::HashSet;
use skywave_protocol::{Offset, Position};
use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::Subscriber;
use super::behind::Behind;

/// A join that is not decided yet.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) subscriber: Subscriber,
    pub(super) recover: Option<Position>,
    /// A history read that began after this join is under way.
    pub(super) asked: bool,
    /// Such reads whose answers did not know its position.
    pub(super) reads: u8,
    /// The oldest offset that could be had when its position was looked for.
    pub(super) first_kept: Option<Offset>,
}

/// Members that are given every publication as it comes: mostly one, who takes no allocation.
#[derive(Debug, Default)]
enum Live {
    #[default]
    Nobody,
    /// Field by field, so that there is no padding between it and the tag.
    One {
        worker: u16,
        connection: u64,
    },
    Many(Box<HashSet<Subscriber>>),
}

impl Live {
    fn one(Subscriber { worker, connection }: Subscriber) -> Self {
        Self::One { worker, connection }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    /// `false` if it was there.
    fn insert(&mut self, subscriber: Subscriber) -> bool {
        match self {
            Self::Nobody => *self = Self::one(subscriber),
            Self::One { worker, connection } => {
                let one = Subscriber { worker: *worker, connection: *connection };
                if one == subscriber {
                    return false;
                }
                *self = Self::Many(Box::new(HashSet::from_iter([one, subscriber])));
            }
            Self::Many(many) => return many.insert(subscriber),
        }
        true
    }

    /// `false` if it was not there.
    fn remove(&mut self, subscriber: Subscriber) -> bool {
        match self {
            Self::One { worker, connection }
                if (*worker, *connection) == (subscriber.worker, subscriber.connection) =>
            {
                *self = Self::Nobody;
            }
            Self::Many(many) => {
                let removed = many.remove(&subscriber);
                if many.is_empty() {
                    *self = Self::Nobody;
                }
                return removed;
            }
            Self::Nobody | Self::One { .. } => return false,
        }
        true
    }
}

/// Everybody a channel works for. Bounded by the node's connections.
#[derive(Debug, Default)]
pub(super) struct Crew {
    live: Live,
    /// Members that are not there yet. `None`: there are none.
    behind: Option<Box<Behind>>,
    /// Members, live or not, per worker.
    workers: SmallVec<[(u16, u32); 2]>,
    /// A pointer, for mostly nobody waits.
    pub(super) waiting: ThinVec<Waiter>,
}

impl Crew {
    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty() && self.waiting.is_empty()
    }

    /// Nobody has to be given what comes.
    pub(super) fn nobody_is_live(&self) -> bool {
        self.live.is_empty()
    }

    /// Members, live or not.
    pub(super) fn members(&self) -> usize {
        self.workers.iter().map(|(_, count)| *count as usize).sum()
    }

    pub(super) fn workers(&self) -> &[(u16, u32)] {
        &self.workers
    }

    pub(super) fn behind(&self) -> Option<&Behind> {
        self.behind.as_deref()
    }

    pub(super) fn behind_mut(&mut self) -> Option<&mut Behind> {
        self.behind.as_deref_mut()
    }

    /// Makes a live member of a subscriber that is none, or one that has caught up.
    pub(super) fn enter(&mut self, subscriber: Subscriber) {
        self.take_behind(subscriber);
        if self.live.insert(subscriber) {
            self.count(subscriber);
        }
    }

    /// Makes a member that has everything up to `at`.
    pub(super) fn enter_behind(&mut self, subscriber: Subscriber, at: Offset) {
        if self.behind.get_or_insert_default().insert(subscriber, at) {
            self.count(subscriber);
        }
    }

    pub(super) fn remove(&mut self, subscriber: Subscriber) {
        if self.live.remove(subscriber) {
            self.uncount(subscriber);
        }
        self.take_behind(subscriber);
        self.waiting.retain(|waiter| waiter.subscriber != subscriber);
        if self.waiting.is_empty() {
            self.waiting = ThinVec::new();
        }
    }

    fn take_behind(&mut self, subscriber: Subscriber) {
        let Some(behind) = &mut self.behind else { return };
        if behind.remove(subscriber) {
            if behind.is_empty() {
                self.behind = None;
            }
            self.uncount(subscriber);
        }
    }

    fn count(&mut self, subscriber: Subscriber) {
        match self.workers.iter_mut().find(|(worker, _)| *worker == subscriber.worker) {
            Some((_, count)) => *count += 1,
            None => self.workers.push((subscriber.worker, 1)),
        }
    }

    fn uncount(&mut self, subscriber: Subscriber) {
        let Some(at) = self.workers.iter().position(|(worker, _)| *worker == subscriber.worker) else {
            return;
        };
        self.workers[at].1 -= 1;
        if self.workers[at].1 == 0 {
            self.workers.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(connection: u64) -> Subscriber {
        Subscriber { worker: 0, connection }
    }

    #[test]
    fn one_becomes_many_and_many_nobody() {
        let mut live = Live::default();
        for round in 0..2 {
            assert!(live.is_empty() && live.insert(who(1)) && !live.insert(who(1)), "round {round}");
            assert!(!live.remove(who(2)));
            assert!(
                live.insert(who(2)) && !live.insert(who(1)) && !live.insert(who(2)) && live.insert(who(3))
            );
            assert!(live.remove(who(1)) && !live.remove(who(1)) && live.remove(who(3)) && !live.is_empty());
            assert!(live.remove(who(2)) && live.is_empty());
        }
    }
}
