//! Which connections of one worker have something to do: the delivery loop notes them here, and the endpoint's task turns
//! to each once, however often it was noted. So what one round writes to a connection leaves in as few packets as it fits.
//!
//! Bounded by the number of connections. Never: looks at a connection.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::{Context, Waker};

/// The numbers of connections that want a turn.
#[derive(Default)]
pub(super) struct Agenda {
    noted: RefCell<VecDeque<usize>>,
    /// `None` while the endpoint's task is at work: it looks here again before it rests.
    sleeper: RefCell<Option<Waker>>,
}

impl Agenda {
    /// Notes connection `number`, unless `noted` says that it stands here already.
    pub(super) fn note(&self, number: usize, noted: &Cell<bool>) {
        if noted.replace(true) {
            return;
        }
        self.noted.borrow_mut().push_back(number);
        if let Some(sleeper) = self.sleeper.take() {
            sleeper.wake();
        }
    }

    /// The endpoint's task begins its work.
    pub(super) fn wake(&self) {
        *self.sleeper.borrow_mut() = None;
    }

    /// Moves everything noted so far into `turns`, which is empty.
    pub(super) fn take(&self, turns: &mut VecDeque<usize>) {
        std::mem::swap(turns, &mut *self.noted.borrow_mut());
    }

    /// The endpoint's task has done its work; it is woken for more, at once if there is some already.
    pub(super) fn rest(&self, cx: &Context<'_>) {
        if self.noted.borrow().is_empty() {
            *self.sleeper.borrow_mut() = Some(cx.waker().clone());
        } else {
            cx.waker().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stands_once_until_its_turn() {
        let (agenda, one, two) = (Agenda::default(), Cell::new(false), Cell::new(false));
        for _ in 0..3 {
            agenda.note(1, &one);
            agenda.note(2, &two);
        }
        let mut turns = VecDeque::new();
        agenda.take(&mut turns);
        assert_eq!(turns, [1, 2]);
        turns.clear();
        one.set(false);
        agenda.note(1, &one);
        agenda.note(2, &two);
        agenda.take(&mut turns);
        assert_eq!(turns, [1], "the second has not had its turn");
    }
}
