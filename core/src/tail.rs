//! The unpersisted tail of a partition: what is sequenced and not yet in the store.
//!
//! One bounded queue in log order with three users: the sequencer's driver adds, the persister takes batches from the
//! front and removes them once they are committed, and history reads it to bridge the time between a publication's
//! acknowledgement and its commit.
//!
//! When full, the driver waits ([`Tail::room`]): sequencing goes at the pace of the store, nothing is dropped. When the
//! store takes nothing at all for a while the tail counts as stalled, and ingest refuses what comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use skywave_ports::log::LogPosition;
use skywave_ports::{DedupEntry, StoredPublication};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, Offset, Publication};
use tokio::sync::Notify;

use crate::dead_letters::Unreadable;

/// What one log record came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Applied {
    pub(crate) position: LogPosition,
    /// `None`: a duplicate or an unreadable record, which only moves the checkpoint.
    pub(crate) publication: Option<StoredPublication>,
    pub(crate) dedup: Option<DedupEntry>,
    /// Boxed: there is hardly ever one.
    pub(crate) unreadable: Option<Box<Unreadable>>,
}

/// The most a tail holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TailLimits {
    pub(crate) records: usize,
    /// Of payload.
    pub(crate) bytes: usize,
    /// A full tail from which nothing went for this long is stalled.
    pub(crate) stall_after: Duration,
}

/// What the persister writes in one commit.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Batch {
    pub(crate) next: LogPosition,
    pub(crate) records: usize,
    pub(crate) publications: Vec<StoredPublication>,
    pub(crate) dedup: Vec<DedupEntry>,
    /// To be kept elsewhere before the commit.
    pub(crate) unreadable: Vec<Unreadable>,
}

pub(crate) struct Tail {
    limits: TailLimits,
    state: Mutex<State>,
    /// Kept beside the state, for the driver asks with every read.
    full: AtomicBool,
    /// For ingest, which asks with every publish.
    stalled: AtomicBool,
    /// Woken when records came.
    added: Notify,
    /// Woken when records went.
    removed: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Applied>,
    bytes: usize,
    channels: HashMap<ChannelName, VecDeque<Arc<Publication>>>,
    closed: bool,
}

impl Tail {
    pub(crate) fn new(limits: TailLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            full: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            added: Notify::new(),
            removed: Notify::new(),
        }
    }

    /// Adds what a read of the log came to. May go beyond the limits by as much: the driver asks for room before it reads.
    pub(crate) fn add(&self, applied: Vec<Applied>) {
        let mut state = self.state.lock();
        for applied in applied {
            let last = state.queue.back().map(|last| last.position);
            assert!(last.is_none_or(|last| last < applied.position), "records are applied in log order");
            state.bytes += applied.unreadable.as_ref().map_or(0, |unreadable| unreadable.record.len());
            if let Some(StoredPublication { channel, publication }) = &applied.publication {
                state.bytes += publication.data.len();
                match state.channels.get_mut(channel) {
                    Some(publications) => publications.push_back(Arc::clone(publication)),
                    None => {
                        let publications = VecDeque::from([Arc::clone(publication)]);
                        state.channels.insert(channel.clone(), publications);
                    }
                }
            }
            state.queue.push_back(applied);
        }
        self.note_fullness(&state);
        drop(state);
        self.added.notify_one();
    }

    /// Waits until there is room for another read. One waiter at a time.
    pub(crate) async fn room(&self) {
        while self.is_full() {
            let removed = self.removed.notified();
            if tokio::time::timeout(self.limits.stall_after, removed).await.is_err() {
                self.stalled.store(true, Ordering::Release);
            }
        }
    }

    /// Full, and the store has taken nothing for a while.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Whoever keeps the persister waiting should stop.
    pub(crate) fn is_half_full(&self) -> bool {
        let state = self.state.lock();
        state.queue.len() >= self.limits.records / 2 || state.bytes >= self.limits.bytes / 2
    }

    fn note_fullness(&self, state: &State) {
        let full = state.queue.len() >= self.limits.records || state.bytes >= self.limits.bytes;
        self.full.store(full, Ordering::Release);
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Waits until at least `records` are there, or the tail is closed. One waiter at a time.
    pub(crate) async fn filled(&self, records: usize) {
        loop {
            {
                let state = self.state.lock();
                if state.queue.len() >= records || state.closed {
                    return;
                }
            }
            self.added.notified().await;
        }
    }

    /// Nothing more will be added: the persister writes what is there at once, and ends.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.added.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// The oldest records, at most `most`, without removing them. `None` when there are none.
    pub(crate) fn batch(&self, most: usize) -> Option<Batch> {
        let state = self.state.lock();
        let mut batch = Batch::default();
        for applied in state.queue.iter().take(most) {
            batch.next = applied.position + 1;
            batch.records += 1;
            batch.publications.extend(applied.publication.clone());
            batch.dedup.extend(applied.dedup.clone());
            batch.unreadable.extend(applied.unreadable.as_deref().cloned());
        }
        (batch.records > 0).then_some(batch)
    }

    /// Everything before `checkpoint` is in the store.
    pub(crate) fn remove_before(&self, checkpoint: LogPosition) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        while let Some(applied) = state.queue.pop_front_if(|applied| applied.position < checkpoint) {
            state.bytes -= applied.unreadable.as_ref().map_or(0, |unreadable| unreadable.record.len());
            let Some(StoredPublication { channel, publication }) = applied.publication else { continue };
            state.bytes -= publication.data.len();
            let Some(publications) = state.channels.get_mut(&channel) else {
                unreachable!("every queued publication is in the channel index")
            };
            let first = publications.pop_front();
            assert_eq!(
                first.map(|first| first.offset),
                Some(publication.offset),
                "one order in queue and index"
            );
            if publications.is_empty() {
                state.channels.remove(&channel);
            }
        }
        self.note_fullness(state);
        self.stalled.store(false, Ordering::Release);
        drop(guard);
        self.removed.notify_one();
    }

    /// The unpersisted publications of a channel inside the query's bounds, at most `limit` from the end at which it
    /// begins: no answer to it can hold others, however much the store has by the time it is asked.
    pub(crate) fn read(&self, query: &HistoryQuery) -> ChannelTail {
        let HistoryQuery { channel, after, before, limit, reverse } = query;
        let (after, before, limit) = (*after, *before, *limit as usize);
        let state = self.state.lock();
        let Some(publications) = state.channels.get(channel) else { return ChannelTail::default() };
        let from = publications.partition_point(|publication| publication.offset <= after);
        let to = match before {
            0 => publications.len(),
            before => publications.partition_point(|publication| publication.offset < before),
        };
        let to = to.max(from);
        let page = match reverse {
            false => from..to.min(from + limit),
            true => from.max(to.saturating_sub(limit))..to,
        };
        ChannelTail {
            first: publications.front().map_or(0, |publication| publication.offset),
            head: publications.back().map_or(0, |publication| publication.offset),
            publications: publications.range(page).cloned().collect(),
        }
    }
}

/// What the tail holds of a channel.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct ChannelTail {
    /// Oldest unpersisted offset; 0: none.
    pub(crate) first: Offset,
    /// Newest unpersisted offset; 0: none.
    pub(crate) head: Offset,
    /// Those asked for, ascending in either direction.
    pub(crate) publications: Vec<Arc<Publication>>,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skywave_protocol::Payload;

    use super::*;

    fn applied(position: LogPosition, channel: &str, offset: Offset) -> Applied {
        let data = Payload::Binary(Bytes::from(vec![0; 10]));
        let publication = Arc::new(Publication { offset, id: None, from: None, time_ms: 0, data });
        let channel = ChannelName::parse(channel).unwrap();
        let publication = Some(StoredPublication { channel, publication });
        Applied { position, publication, dedup: None, unreadable: None }
    }

    fn skipped(position: LogPosition) -> Applied {
        Applied { position, publication: None, dedup: None, unreadable: None }
    }

    fn unreadable(position: LogPosition, bytes: usize) -> Applied {
        let (record, reason) = (Bytes::from(vec![0; bytes]), "odd".to_owned());
        Applied { unreadable: Some(Box::new(Unreadable { position, record, reason })), ..skipped(position) }
    }

    fn tail() -> Tail {
        Tail::new(TailLimits { records: 4, bytes: 1_000, stall_after: Duration::from_millis(5) })
    }

    fn offsets(tail: &Tail, channel: &str, after: Offset, before: Offset) -> (Offset, Vec<Offset>) {
        page(tail, channel, after, before, 100, false)
    }

    fn page(
        tail: &Tail,
        channel: &str,
        after: Offset,
        before: Offset,
        limit: u32,
        reverse: bool,
    ) -> (Offset, Vec<Offset>) {
        let channel = ChannelName::parse(channel).unwrap();
        let read = tail.read(&HistoryQuery { channel, after, before, limit, reverse });
        (read.head, read.publications.iter().map(|publication| publication.offset).collect())
    }

    #[test]
    fn batches_come_from_the_front_and_stay_until_removed() {
        let tail = tail();
        assert_eq!(tail.batch(10), None);
        tail.add(vec![applied(5, "a", 1), skipped(6), applied(7, "b", 1)]);
        let batch = tail.batch(2).unwrap();
        assert_eq!((batch.next, batch.records, batch.publications.len()), (7, 2, 1));
        assert_eq!(tail.batch(2).unwrap(), batch, "nothing went");
        tail.remove_before(7);
        let batch = tail.batch(2).unwrap();
        assert_eq!((batch.next, batch.records), (8, 1));
        tail.remove_before(8);
        assert_eq!((tail.batch(2), tail.len()), (None, 0));
    }

    #[test]
    fn what_cannot_be_read_takes_its_room_until_it_is_removed() {
        let tail = Tail::new(TailLimits { records: 100, bytes: 50, stall_after: Duration::from_secs(1) });
        tail.add(vec![unreadable(0, 24), applied(1, "a", 1)]);
        assert!(tail.is_half_full() && !tail.is_full());
        tail.add(vec![unreadable(2, 20)]);
        assert!(tail.is_full());
        let batch = tail.batch(10).unwrap();
        let positions: Vec<_> = batch.unreadable.iter().map(|unreadable| unreadable.position).collect();
        assert_eq!((batch.records, batch.publications.len(), positions), (3, 1, vec![0, 2]));
        tail.remove_before(1);
        assert!(!tail.is_full());
        tail.remove_before(3);
        assert!(!tail.is_half_full());
    }

    #[test]
    fn a_channel_is_read_within_bounds() {
        let tail = tail();
        tail.add((0..6).map(|n| applied(n, "a", n + 11)).collect());
        assert_eq!(offsets(&tail, "a", 0, 0), (16, (11..=16).collect()));
        assert_eq!(offsets(&tail, "a", 12, 15), (16, vec![13, 14]));
        assert_eq!(offsets(&tail, "a", 16, 0), (16, vec![]));
        assert_eq!(offsets(&tail, "a", 15, 3), (16, vec![]));
        assert_eq!(offsets(&tail, "b", 0, 0), (0, vec![]));
        assert_eq!(page(&tail, "a", 11, 0, 2, false), (16, vec![12, 13]));
        assert_eq!(page(&tail, "a", 11, 16, 2, true), (16, vec![14, 15]));
        tail.remove_before(4);
        assert_eq!(offsets(&tail, "a", 0, 0), (16, vec![15, 16]));
    }

    #[tokio::test]
    async fn a_full_tail_has_room_again_when_records_went() {
        let tail = Arc::new(tail());
        tail.add((0..4).map(|n| applied(n, "a", n + 1)).collect());
        assert!(tail.is_full());
        let waiting = tokio::spawn({
            let tail = Arc::clone(&tail);
            async move { tail.room().await }
        });
        while !tail.is_stalled() {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        tail.remove_before(1);
        assert!(!tail.is_stalled());
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn bytes_fill_a_tail_as_well() {
        let tail = Tail::new(TailLimits { records: 100, bytes: 25, stall_after: Duration::from_secs(1) });
        tail.add(vec![applied(0, "a", 1), applied(1, "a", 2)]);
        assert!(!tail.is_full());
        tail.add(vec![applied(2, "a", 3)]);
        assert!(tail.is_full());
        tail.remove_before(1);
        assert!(!tail.is_full());
    }
}
