//! What this process appends comes to its own readers with the acknowledgement.
//!
//! Kafka acknowledges an append (`acks=all`) when every replica in sync has the record: from then on a fetch would bring it,
//! at the position that the acknowledgement tells. A reader that stands there can take it from here and is spared the way
//! back, which at small loads is half of a publication's time and half of a broker's work. What others append, and what found
//! no room here, is fetched as ever.
//!
//! It also tells whether anybody else has appended lately: the positions of our own records then have holes.
//!
//! A reader hears only of appends that were started after it began. So a position before its beginning, or before one that was
//! acknowledged already, means that the log was cut: no such append can have found a place there otherwise.
//!
//! Bounded: a reader that does not take what is offered loses all of it, and fetches it.
//! Never: offers what is not acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use skywave_ports::log::{LogEntry, LogPosition, Partition};
use tokio::sync::Notify;

/// Records that wait for a reader, at most.
const RECORDS: usize = 8_192;
/// So many records in a row, over such a time, make us the only one who appends.
const ALONE_AFTER: (u64, Duration) = (64, Duration::from_secs(1));

/// The appends of each partition, and the readers that listen. Clones share them.
#[derive(Clone)]
pub(crate) struct Own(Arc<[Appends]>);

/// What this process appends to one partition.
#[derive(Default)]
struct Appends {
    /// Appends that are not answered.
    under_way: AtomicUsize,
    readers: Mutex<Vec<Arc<Offers>>>,
}

/// An append that is not answered, until it is dropped.
pub(crate) struct UnderWay {
    own: Own,
    partition: Partition,
}

impl Own {
    pub(crate) fn new(partitions: u32) -> Self {
        Self((0..partitions).map(|_| Appends::default()).collect())
    }

    /// An append begins, whose record may be fetched before it is known to be ours.
    pub(crate) fn begin(&self, partition: Partition) -> UnderWay {
        self.0[partition as usize].under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay { own: self.clone(), partition }
    }

    /// An append that was `started` then has been acknowledged.
    pub(crate) fn acknowledged(
        &self,
        partition: Partition,
        position: LogPosition,
        value: &Bytes,
        started: Instant,
    ) {
        let readers = self.0[partition as usize].readers.lock();
        for offers in readers.iter().filter(|offers| offers.began <= started) {
            offers.offer(position, value);
        }
    }

    /// Begins to listen; `arrived` is told when there is something. Keeps at most so many bytes.
    pub(super) fn listen(&self, partition: Partition, bytes: usize, arrived: Arc<Notify>) -> Listening {
        let offers = Arc::new(Offers { began: Instant::now(), bytes, arrived, kept: Mutex::default() });
        self.0[partition as usize].readers.lock().push(Arc::clone(&offers));
        Listening { own: self.clone(), partition, offers }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.own.0[self.partition as usize].under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A reader's ear. Nothing is kept for it after its end.
pub(super) struct Listening {
    own: Own,
    partition: Partition,
    offers: Arc<Offers>,
}

/// Acknowledged positions went back, now or before: the log was cut.
#[derive(Debug, PartialEq)]
pub(super) struct WentBack;

struct Offers {
    began: Instant,
    /// Kept at most.
    bytes: usize,
    arrived: Arc<Notify>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    records: VecDeque<LogEntry>,
    bytes: usize,
    run: Run,
    newest: Option<LogPosition>,
    /// A position was not beyond the one before.
    went_back: bool,
}

/// Our own records that stand side by side, up to the newest one.
#[derive(Debug, Default, Clone, Copy)]
struct Run {
    next: LogPosition,
    length: u64,
    began: Option<Instant>,
    /// There was a hole since the count began.
    broken: bool,
}

impl Run {
    fn add(&mut self, position: LogPosition, now: Instant) {
        if position != self.next || self.began.is_none() {
            let broken = self.broken || self.began.is_some();
            *self = Self { next: position, length: 0, began: Some(now), broken };
        }
        self.next += 1;
        self.length += 1;
    }

    fn is_alone(&self, now: Instant) -> bool {
        let (length, time) = ALONE_AFTER;
        self.length >= length && self.began.is_some_and(|began| now.saturating_duration_since(began) >= time)
    }
}

impl Offers {
    fn offer(&self, position: LogPosition, value: &Bytes) {
        let mut kept = self.kept.lock();
        kept.run.add(position, Instant::now());
        kept.went_back |= kept.newest.is_some_and(|newest| position <= newest);
        kept.newest = Some(position);
        if kept.records.len() >= RECORDS || kept.bytes + value.len() > self.bytes {
            (kept.records, kept.bytes) = (VecDeque::new(), 0);
        }
        kept.bytes += value.len();
        kept.records.push_back(LogEntry { position, value: value.clone() });
        drop(kept);
        self.arrived.notify_one();
    }
}

impl Listening {
    /// The oldest one, if it stands before that position.
    pub(super) fn take(&self, before: LogPosition) -> Result<Option<LogEntry>, WentBack> {
        let mut kept = self.offers.kept.lock();
        if kept.went_back {
            return Err(WentBack);
        }
        let entry = kept.records.pop_front_if(|first| first.position < before);
        kept.bytes -= entry.as_ref().map_or(0, |entry| entry.value.len());
        Ok(entry)
    }

    /// Whether records that are fetched now may turn out to be our own.
    pub(super) fn is_appending(&self) -> bool {
        self.own.0[self.partition as usize].under_way.load(Ordering::Relaxed) > 0
    }

    /// Whether nobody else has appended for a while.
    pub(super) fn is_alone(&self) -> bool {
        self.offers.kept.lock().run.is_alone(Instant::now())
    }

    /// Whether somebody else's record stands between ours, since the count began.
    pub(super) fn is_broken(&self) -> bool {
        self.offers.kept.lock().run.broken
    }

    /// Begins to count anew.
    pub(super) fn doubt(&self) {
        self.offers.kept.lock().run = Run::default();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.own.0[self.partition as usize]
            .readers
            .lock()
            .retain(|offers| !Arc::ptr_eq(offers, &self.offers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(bytes: usize) -> (Own, Listening) {
        let own = Own::new(2);
        let listening = own.listen(1, bytes, Arc::default());
        (own, listening)
    }

    fn taken(listening: &Listening, before: LogPosition) -> Option<LogPosition> {
        listening.take(before).unwrap().map(|entry| entry.position)
    }

    #[test]
    fn what_stands_before_a_position_is_given_once_and_in_order() {
        let (own, listening) = listening(100);
        let now = Instant::now();
        for position in [3, 4, 7] {
            own.acknowledged(1, position, &Bytes::from_static(b"x"), now);
        }
        own.acknowledged(0, 3, &Bytes::from_static(b"another partition's"), now);
        assert_eq!(
            [3, 5, 5, 5, 8].map(|before| taken(&listening, before)),
            [None, Some(3), Some(4), None, Some(7)]
        );
        assert_eq!(listening.offers.kept.lock().bytes, 0);
    }

    #[test]
    fn an_append_from_before_the_reader_is_not_heard_of() {
        let started = Instant::now().checked_sub(Duration::from_millis(1)).unwrap();
        let (own, listening) = listening(100);
        own.acknowledged(1, 0, &Bytes::from_static(b"x"), started);
        assert_eq!(taken(&listening, 9), None);
    }

    #[test]
    fn what_is_not_taken_is_forgotten_at_the_bound() {
        let (own, listening) = listening(10);
        for position in 0..6 {
            own.acknowledged(1, position, &Bytes::from_static(b"four"), Instant::now());
        }
        assert_eq!(taken(&listening, 4), None, "the first four were forgotten, two at a time");
        assert_eq!([9, 9].map(|before| taken(&listening, before)), [Some(4), Some(5)]);
    }

    #[test]
    fn an_append_is_under_way_until_it_is_dropped() {
        let (own, listening) = listening(10);
        let appends = [own.begin(1), own.begin(1), own.begin(0)];
        assert!(listening.is_appending());
        let [first, second, _other] = appends;
        drop(first);
        assert!(listening.is_appending());
        drop(second);
        assert!(!listening.is_appending());
    }

    #[test]
    fn a_reader_that_has_ended_is_kept_nothing_for() {
        let (own, listening) = listening(10);
        drop(listening);
        assert!(own.0[1].readers.lock().is_empty());
    }

    #[test]
    fn positions_that_go_back_are_remembered_whatever_was_forgotten() {
        let (own, listening) = listening(10);
        let offer = |position| own.acknowledged(1, position, &Bytes::from_static(b"four"), Instant::now());
        [7, 8, 10].into_iter().for_each(offer);
        assert_eq!(listening.take(0), Ok(None));
        [9, 11, 12, 13, 14].into_iter().for_each(offer);
        listening.doubt();
        assert_eq!(listening.take(0), Err(WentBack));
    }

    #[test]
    fn alone_is_who_has_appended_without_a_hole_for_a_while() {
        let (length, time) = ALONE_AFTER;
        let (mut run, begin) = (Run::default(), Instant::now());
        for position in 0..length {
            run.add(100 + position, begin);
        }
        assert!(!run.is_alone(begin), "for no time");
        assert!(run.is_alone(begin + time));
        run.add(100 + length, begin + time);
        assert!(run.is_alone(begin + time));
        assert!(!run.broken);
        run.add(102 + length, begin + time);
        assert!(run.broken);
        assert!(!run.is_alone(begin + time), "somebody else's stands between");
        assert!(!run.is_alone(begin + time * 2), "one is too few");
    }
}
