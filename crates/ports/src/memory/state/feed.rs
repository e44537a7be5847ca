//! A feed of notices within one process: numbered in the order in which they came, dropped in the same order.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::state::{FEED_NOTICES, FEED_PAGE, FeedPosition, Notice, Notices};

#[derive(Debug)]
pub(super) struct Feed {
    /// There is one life of the feed, as there is one of the state.
    generation: u64,
    entries: VecDeque<Entry>,
    /// Number of the newest notice; those before it have the numbers before.
    newest: u64,
}

#[derive(Debug)]
struct Entry {
    payload: Bytes,
    at: Duration,
    ends: Duration,
}

impl Feed {
    pub(super) fn new(generation: u64) -> Self {
        Self { generation, entries: VecDeque::new(), newest: 0 }
    }

    pub(super) fn append(&mut self, now: Duration, payload: Bytes, lifetime: Duration) {
        while self.entries.front().is_some_and(|entry| entry.ends <= now)
            || self.entries.len() >= FEED_NOTICES
        {
            self.entries.pop_front();
        }
        self.newest += 1;
        self.entries.push_back(Entry { payload, at: now, ends: now.saturating_add(lifetime) });
    }

    pub(super) fn read(&self, now: Duration, after: FeedPosition) -> Notices {
        let begins = after == FeedPosition::default();
        let dropped = self.newest - self.entries.len() as u64;
        // Numbers of another life mean nothing here.
        let read = if after.generation == self.generation { after.sequence.min(self.newest) } else { 0 };
        let from = read.max(dropped);
        let entries = self.entries.range((from - dropped) as usize..).take(FEED_PAGE);
        let notices: Vec<Notice> = entries
            .map(|entry| Notice { payload: entry.payload.clone(), age: now.saturating_sub(entry.at) })
            .collect();
        let position = FeedPosition { generation: self.generation, sequence: from + notices.len() as u64 };
        Notices {
            notices,
            position,
            missed: !begins && (read < dropped || after.generation != self.generation),
        }
    }
}
