//! A core's end of the links: takes the publishes of each link in the order of their numbers, and says what is missing.
//!
//! What comes behind a hole is not taken: the sender sends it again, from the hole on, on its next link. So the core takes
//! what a requester sent it in the order in which it was sent, whatever the bus loses.

use hashbrown::HashMap;
use skywave_protocol::Subject;

use crate::time::Millis;

/// Requesters that are remembered; one is a worker of an edge.
const MOST: usize = 65_536;
/// One that was silent for so long waits for nothing any more, and may be forgotten when there are too many.
const FORGOTTEN_MS: Millis = 60_000;

/// What to do with a numbered publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is the next one.
    Take,
    /// It comes behind a hole that was told, from a link that has ended, or for the second time.
    Drop,
    /// It comes behind a hole: tell the sender that this number is missing.
    Missing(u64),
}

#[derive(Debug, Default)]
pub struct Receiver {
    /// By the subject where the requester awaits its answers.
    links: HashMap<Subject, Link>,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    link: u64,
    expected: u64,
    /// The sender was told of the hole at `expected`.
    told: bool,
    used: Millis,
}

impl Receiver {
    /// A publish has come.
    pub fn numbered(&mut self, now: Millis, from: &Subject, link: u64, number: u64) -> Turn {
        let Some(state) = self.link(now, from, link) else { return Turn::Drop };
        if number == state.expected {
            state.expected += 1;
            state.told = false;
            return Turn::Take;
        }
        if number < state.expected || std::mem::replace(&mut state.told, true) {
            return Turn::Drop;
        }
        Turn::Missing(state.expected)
    }

    /// The sender asks whether everything below `next` has come: the first number that has not.
    pub fn check(&mut self, now: Millis, from: &Subject, link: u64, next: u64) -> Option<u64> {
        let state = self.link(now, from, link)?;
        (next > state.expected).then(|| {
            state.told = true;
            state.expected
        })
    }

    /// `None`: the link has ended.
    fn link(&mut self, now: Millis, from: &Subject, link: u64) -> Option<&mut Link> {
        if self.links.len() >= MOST && !self.links.contains_key(from) {
            self.links.retain(|_, state| state.used + FORGOTTEN_MS > now);
        }
        let new = Link { link, expected: 1, told: false, used: now };
        let state = self.links.entry(from.clone()).or_insert(new);
        if link > state.link {
            *state = new;
        }
        state.used = now;
        (link == state.link).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requester(worker: u32) -> Subject {
        Subject::reply(&skywave_protocol::NodeId::parse("edge-1").unwrap(), worker)
    }

    #[test]
    fn a_link_is_taken_in_order_and_a_hole_is_told_once() {
        let mut receiver = Receiver::default();
        let from = requester(0);
        assert_eq!(receiver.numbered(0, &from, 1, 1), Turn::Take);
        assert_eq!(receiver.numbered(0, &from, 1, 3), Turn::Missing(2));
        assert_eq!(receiver.numbered(0, &from, 1, 4), Turn::Drop);
        assert_eq!(receiver.numbered(0, &from, 1, 1), Turn::Drop, "twice");
        assert_eq!(receiver.check(0, &from, 1, 5), Some(2), "who asks is told again");
        assert_eq!(receiver.numbered(0, &from, 2, 1), Turn::Take);
        assert_eq!(receiver.numbered(0, &from, 1, 2), Turn::Drop, "its link has ended");
        assert_eq!(receiver.check(0, &from, 2, 2), None);
        assert_eq!(receiver.check(0, &from, 1, 9), None);
    }

    #[test]
    fn the_first_ones_may_be_missing_and_requesters_do_not_mix() {
        let mut receiver = Receiver::default();
        assert_eq!(receiver.numbered(0, &requester(0), 7, 2), Turn::Missing(1));
        assert_eq!(receiver.check(0, &requester(1), 7, 4), Some(1));
        assert_eq!(receiver.numbered(0, &requester(1), 7, 1), Turn::Take);
    }

    #[test]
    fn those_that_were_silent_long_are_forgotten_when_there_are_too_many() {
        let mut receiver = Receiver::default();
        for worker in 0..MOST as u32 {
            receiver.numbered(0, &requester(worker), 1, 1);
        }
        receiver.numbered(FORGOTTEN_MS, &requester(u32::MAX), 1, 1);
        assert_eq!(receiver.links.len(), 1);
    }
}
