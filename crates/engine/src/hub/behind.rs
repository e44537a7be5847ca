//! The members of one channel that are catching up: where each stands, and who of them wants a page.
//!
//! A member wants a page from when it has asked for one (its connection has room) until it is given something. So one
//! that does not read asks for nothing, holds nothing here but its position, and nobody waits for it.

use std::collections::BTreeMap;

use skywave_protocol::Offset;

use super::Subscriber;

#[derive(Debug)]
struct Straggler {
    /// It has, or was told that it misses, everything up to here.
    at: Offset,
    /// Its turn among those that want a page.
    turn: Option<u64>,
}

/// Ordered maps, so that the same events lead to the same decisions.
#[derive(Debug, Default)]
pub(super) struct Behind {
    stragglers: BTreeMap<Subscriber, Straggler>,
    /// Who wants a page, in the order of asking.
    wanting: BTreeMap<u64, Subscriber>,
    last_turn: u64,
    /// Reads begun so far.
    reads: u64,
}

impl Behind {
    pub(super) fn is_empty(&self) -> bool {
        self.stragglers.is_empty()
    }

    /// `true` if it was not there. One that was starts again from `at`, wanting nothing.
    pub(super) fn insert(&mut self, subscriber: Subscriber, at: Offset) -> bool {
        let is_new = !self.remove(subscriber);
        self.stragglers.insert(subscriber, Straggler { at, turn: None });
        is_new
    }

    pub(super) fn remove(&mut self, subscriber: Subscriber) -> bool {
        let Some(straggler) = self.stragglers.remove(&subscriber) else { return false };
        if let Some(turn) = straggler.turn {
            self.wanting.remove(&turn);
        }
        true
    }

    /// It has room for a page: where it stands. `None` for whoever is not catching up, or has asked already.
    pub(super) fn ask(&mut self, subscriber: Subscriber) -> Option<Offset> {
        let straggler = self.stragglers.get_mut(&subscriber)?;
        if straggler.turn.is_some() {
            return None;
        }
        self.last_turn += 1;
        straggler.turn = Some(self.last_turn);
        self.wanting.insert(self.last_turn, subscriber);
        Some(straggler.at)
    }

    /// It has been given something, wants nothing until it asks again, and stands at `at`.
    pub(super) fn given(&mut self, subscriber: Subscriber, at: Offset) {
        let Some(straggler) = self.stragglers.get_mut(&subscriber) else { return };
        assert!(at >= straggler.at, "who catches up does not go back");
        straggler.at = at;
        if let Some(turn) = straggler.turn.take() {
            self.wanting.remove(&turn);
        }
    }

    pub(super) fn all(&self) -> Vec<Subscriber> {
        self.stragglers.keys().copied().collect()
    }

    /// Who wants a page, and from where, in the order of asking.
    pub(super) fn wanting(&self) -> impl Iterator<Item = (Subscriber, Offset)> {
        self.wanting.values().filter_map(|subscriber| {
            let at = self.stragglers.get(subscriber)?.at;
            Some((*subscriber, at))
        })
    }

    /// Where the next page is to begin. By turns at the position furthest behind, so that those who are close together
    /// meet and share what follows, and at that of whoever has waited longest, so that nobody waits for ever.
    pub(super) fn next_page(&self) -> Option<Offset> {
        if self.reads.is_multiple_of(2) {
            self.wanting().map(|(_, at)| at).min()
        } else {
            self.wanting().map(|(_, at)| at).next()
        }
    }

    /// Whether those who wait for their join to be decided go first this time.
    pub(super) fn gives_way(&self) -> bool {
        self.reads.is_multiple_of(3)
    }

    pub(super) fn read_begun(&mut self) {
        self.reads += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(connection: u64) -> Subscriber {
        Subscriber { worker: 0, connection }
    }

    #[test]
    fn who_has_not_asked_wants_nothing() {
        let mut behind = Behind::default();
        assert!(behind.insert(who(1), 10));
        assert_eq!((behind.next_page(), behind.wanting().count()), (None, 0));
        assert_eq!((behind.ask(who(1)), behind.ask(who(1)), behind.ask(who(2))), (Some(10), None, None));
        assert_eq!(behind.next_page(), Some(10));
        behind.given(who(1), 20);
        assert_eq!((behind.next_page(), behind.ask(who(1))), (None, Some(20)));
        assert!(behind.remove(who(1)) && behind.is_empty() && behind.wanting.is_empty());
    }

    #[test]
    fn the_furthest_behind_and_the_longest_waiting_take_turns() {
        let mut behind = Behind::default();
        for (connection, at) in [(1, 50), (2, 10), (3, 70)] {
            behind.insert(who(connection), at);
        }
        for connection in [3, 1, 2] {
            behind.ask(who(connection));
        }
        let mut starts = Vec::new();
        for _ in 0..4 {
            starts.extend(behind.next_page());
            behind.read_begun();
        }
        assert_eq!(starts, [10, 70, 10, 70]);
    }
}
