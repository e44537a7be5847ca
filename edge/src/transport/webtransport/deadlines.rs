//! When the connections of one worker want to be looked at, whatever comes from outside: one entry each, and one timer for
//! all of them.
//!
//! The worker's wheel is too coarse for QUIC, which counts in milliseconds. A deadline that moves away is left where it is:
//! its connection is looked at early, and entered again. So a packet that is sent and acknowledged costs one change, not
//! two. Never: holds more than one entry of a connection.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// Deadlines in order, with the numbers of their connections.
pub(super) struct Deadlines {
    entries: BTreeSet<(Instant, usize)>,
    sleep: Pin<Box<Sleep>>,
}

impl Deadlines {
    pub(super) fn new() -> Self {
        Self { entries: BTreeSet::new(), sleep: Box::pin(tokio::time::sleep_until(Instant::now().into())) }
    }

    /// Looks at connection `number` at `due` or before. `entered` is the connection's own note of when that will be.
    pub(super) fn enter(&mut self, number: usize, entered: &Cell<Option<Instant>>, due: Instant) {
        match entered.get() {
            Some(before) if before <= due => return,
            Some(before) => self.entries.remove(&(before, number)),
            None => false,
        };
        self.entries.insert((due, number));
        entered.set(Some(due));
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, number: usize, entered: &Cell<Option<Instant>>) {
        if let Some(before) = entered.take() {
            self.entries.remove(&(before, number));
        }
    }

    /// Takes a connection whose time has come; its note is to be cleared.
    pub(super) fn take(&mut self, now: Instant) -> Option<usize> {
        let &(due, number) = self.entries.first()?;
        if due > now {
            return None;
        }
        self.entries.pop_first();
        Some(number)
    }

    /// Wakes the task at the first deadline; ready if that has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(&(due, _)) = self.entries.first() else { return Poll::Pending };
        if self.sleep.deadline().into_std() != due {
            self.sleep.as_mut().reset(due.into());
        }
        self.sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_connection_has_one_entry_however_often_its_deadline_moves() {
        let mut deadlines = Deadlines::new();
        let (one, two) = (Cell::new(None), Cell::new(None));
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        deadlines.enter(1, &one, at(40_000));
        deadlines.enter(2, &two, at(30));
        for _ in 0..100 {
            deadlines.enter(1, &one, at(20));
            deadlines.enter(1, &one, at(40_000));
        }
        assert_eq!(deadlines.entries.len(), 2);
        assert_eq!(deadlines.take(at(10)), None);
        assert_eq!((deadlines.take(at(30)), one.take()), (Some(1), Some(at(20))));
        deadlines.enter(1, &one, at(40_000));
        deadlines.remove(2, &two);
        assert_eq!(deadlines.take(at(39_999)), None);
        assert_eq!(deadlines.take(at(40_000)), Some(1));
        assert_eq!(deadlines.take(at(50_000)), None);
    }
}
