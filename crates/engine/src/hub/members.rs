//! Who is in a channel: the members, counted per worker, and those still waiting for their join to be decided.

use hashbrown::HashSet;
use skywave_protocol::Position;
use smallvec::SmallVec;

use super::Subscriber;

#[derive(Debug, Default)]
pub(super) struct Members {
    set: HashSet<Subscriber>,
    workers: SmallVec<[(u16, u32); 2]>,
}

impl Members {
    pub(super) fn insert(&mut self, subscriber: Subscriber) {
        if !self.set.insert(subscriber) {
            return;
        }
        match self.workers.iter_mut().find(|(worker, _)| *worker == subscriber.worker) {
            Some((_, count)) => *count += 1,
            None => self.workers.push((subscriber.worker, 1)),
        }
    }

    pub(super) fn remove(&mut self, subscriber: Subscriber) -> bool {
        if !self.set.remove(&subscriber) {
            return false;
        }
        if let Some(at) = self.workers.iter().position(|(worker, _)| *worker == subscriber.worker) {
            self.workers[at].1 -= 1;
            if self.workers[at].1 == 0 {
                self.workers.remove(at);
            }
        }
        if self.set.is_empty() {
            self.set = HashSet::new();
        }
        true
    }

    pub(super) fn workers(&self) -> &[(u16, u32)] {
        &self.workers
    }

    pub(super) fn len(&self) -> usize {
        self.set.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

/// A join that is not decided yet.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) subscriber: Subscriber,
    pub(super) recover: Option<Position>,
    /// A history read that began after this join is under way.
    pub(super) asked: bool,
    /// Such reads that have been answered.
    pub(super) reads: u8,
}

/// Everybody a channel works for. The waiting are bounded by the node's connections.
#[derive(Debug, Default)]
pub(super) struct Crew {
    pub(super) members: Members,
    pub(super) waiting: Vec<Waiter>,
}

impl Crew {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn remove(&mut self, subscriber: Subscriber) {
        self.members.remove(subscriber);
        self.waiting.retain(|waiter| waiter.subscriber != subscriber);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }
}
