//! The newest committed batches, in memory: what readers that keep up are served from, and where they wait. Also says when
//! the next commit is due.
//!
//! Bounded in bytes: the oldest batches leave first (the file has them). Never holds what is not committed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use skywave_ports::log::{LogEntry, LogPosition};
use tokio::sync::watch;

use super::batch::Batch;

pub(super) struct Tail {
    most_bytes: usize,
    state: RwLock<State>,
    end: watch::Sender<LogPosition>,
    next_commit: Mutex<Instant>,
}

struct State {
    /// First position the log keeps, in the file or here.
    first: LogPosition,
    /// Consecutive; the last one ends where the log ends.
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
}

/// Where a position is to be had.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    Here(Vec<LogEntry>),
    /// Older than the tail: in the file.
    InFile,
    /// No longer kept.
    Trimmed {
        first: LogPosition,
    },
}

impl Tail {
    pub(super) fn new(first: LogPosition, end: LogPosition, most_bytes: usize) -> Self {
        let state = State { first, batches: VecDeque::new(), bytes: 0 };
        let next_commit = Mutex::new(Instant::now());
        Self { most_bytes, state: RwLock::new(state), end: watch::Sender::new(end), next_commit }
    }

    /// A few appends are not committed before this time.
    pub(super) fn next_commit(&self) -> Instant {
        *self.next_commit.lock()
    }

    pub(super) fn set_next_commit(&self, due: tokio::time::Instant) {
        *self.next_commit.lock() = due.into_std();
    }

    pub(super) fn bounds(&self) -> (LogPosition, LogPosition) {
        let first = self.state.read().first;
        (first, *self.end.borrow())
    }

    pub(super) fn end(&self) -> LogPosition {
        *self.end.borrow()
    }

    /// Wakes when the log grows.
    pub(super) fn watch_end(&self) -> watch::Receiver<LogPosition> {
        self.end.subscribe()
    }

    /// Publishes a committed batch to the readers.
    pub(super) fn push(&self, batch: Batch) {
        let end = batch.end();
        assert_eq!(batch.base, self.end(), "batches are consecutive");
        let mut state = self.state.write();
        state.bytes += batch.weight();
        state.batches.push_back(Arc::new(batch));
        while state.bytes > self.most_bytes && state.batches.len() > 1 {
            if let Some(oldest) = state.batches.pop_front() {
                state.bytes -= oldest.weight();
            }
        }
        drop(state);
        self.end.send_replace(end);
    }

    /// The file no longer keeps what stands before `first`.
    pub(super) fn trimmed(&self, first: LogPosition) {
        let mut state = self.state.write();
        state.first = state.first.max(first);
        while let Some(batch) = state.batches.pop_front_if(|batch| batch.end() <= first) {
            state.bytes -= batch.weight();
        }
    }

    /// Entries from `from` on, at most `max`. `from` lies before the end.
    pub(super) fn find(&self, from: LogPosition, max: usize) -> Found {
        let state = self.state.read();
        if from < state.first {
            return Found::Trimmed { first: state.first };
        }
        let at = state.batches.partition_point(|batch| batch.end() <= from);
        if state.batches.front().is_none_or(|oldest| from < oldest.base) {
            return Found::InFile;
        }
        let mut entries = Vec::new();
        for batch in state.batches.range(at..) {
            let next = from + entries.len() as u64;
            entries.extend(batch.entries(next, max - entries.len()));
            if entries.len() == max {
                break;
            }
        }
        Found::Here(entries)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn batch(base: LogPosition, count: u64) -> Batch {
        Batch { base, values: (0..count).map(|n| Bytes::from(format!("{}", base + n))).collect() }
    }

    fn positions(found: Found) -> Vec<LogPosition> {
        let Found::Here(entries) = found else { panic!("{found:?}") };
        for entry in &entries {
            assert_eq!(entry.value, format!("{}", entry.position));
        }
        entries.into_iter().map(|entry| entry.position).collect()
    }

    #[test]
    fn entries_span_batches_and_stop_at_max() {
        let tail = Tail::new(0, 10, 1_000_000);
        for base in [10, 13, 14] {
            tail.push(batch(base, if base == 10 { 3 } else { 1 }));
        }
        assert_eq!(tail.find(9, 5), Found::InFile);
        assert_eq!(positions(tail.find(11, 100)), [11, 12, 13, 14]);
        assert_eq!(positions(tail.find(11, 2)), [11, 12]);
        assert_eq!(positions(tail.find(13, 1)), [13]);
    }

    #[test]
    fn the_oldest_leave_when_it_is_full_and_when_trimmed() {
        let tail = Tail::new(0, 0, 5 * batch(0, 10).weight());
        for n in 0..20 {
            tail.push(batch(n * 10, 10));
        }
        assert_eq!(tail.find(100, 1), Found::InFile);
        assert_eq!(positions(tail.find(165, 1)), [165]);
        tail.trimmed(180);
        assert_eq!(tail.find(179, 1), Found::Trimmed { first: 180 });
        assert_eq!(positions(tail.find(180, 1)), [180]);
        assert_eq!(tail.bounds(), (180, 200));
    }
}
