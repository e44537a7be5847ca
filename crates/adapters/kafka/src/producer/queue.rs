//! The bound of appends that wait for Kafka, for their turn or in the library.
//!
//! An append that finds no place is refused at once: it was certainly not sent. A place is given back when the append is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use skywave_ports::log::LogError;

use crate::metrics::KafkaMetrics;

/// The places of one session.
pub(super) struct Queue(Arc<Places>);

struct Places {
    records: Bounded,
    bytes: Bounded,
    metrics: KafkaMetrics,
    /// For whoever waits until all places are free.
    empty: (Mutex<()>, Condvar),
}

struct Bounded {
    taken: AtomicUsize,
    most: usize,
}

/// The place of an append: free again when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    bytes: usize,
}

/// What an append is answered that finds no place.
pub(super) fn full() -> LogError {
    LogError::Full("too many appends wait for Kafka".into())
}

impl Bounded {
    fn new(most: usize) -> Self {
        Self { taken: AtomicUsize::new(0), most }
    }

    fn take(&self, count: usize) -> bool {
        let more = |taken: usize| taken.checked_add(count).filter(|taken| *taken <= self.most);
        self.taken.try_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Whether nothing is taken any more.
    fn give_back(&self, count: usize) -> bool {
        // Whoever sees it empty also sees what was done before.
        let taken = self.taken.fetch_sub(count, Ordering::AcqRel);
        debug_assert!(taken >= count, "more was given back than taken");
        taken == count
    }
}

impl Queue {
    pub(super) fn new(records: usize, bytes: usize, metrics: KafkaMetrics) -> Self {
        let (records, bytes) = (Bounded::new(records), Bounded::new(bytes));
        Self(Arc::new(Places { records, bytes, metrics, empty: <_>::default() }))
    }

    /// A place for an append of so many bytes, key and value.
    pub(super) fn enter(&self, bytes: usize) -> Result<Place, LogError> {
        let places = &self.0;
        if !places.records.take(1) {
            return Err(full());
        }
        if !places.bytes.take(bytes) {
            places.records.give_back(1);
            return Err(full());
        }
        places.metrics.appends_in_flight.inc();
        Ok(Place { places: Arc::clone(places), bytes })
    }

    /// Blocks until every place is free, at most for `timeout`.
    pub(super) fn wait_until_empty(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let (lock, freed) = &self.0.empty;
        let mut guard = lock.lock();
        let is_busy = |_: &mut ()| self.0.records.taken.load(Ordering::Acquire) > 0;
        let _ = freed.wait_while_until(&mut guard, is_busy, deadline);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = &self.places;
        places.metrics.appends_in_flight.dec();
        places.bytes.give_back(self.bytes);
        if places.records.give_back(1) {
            let (lock, freed) = &places.empty;
            // With the lock, so that it is not between the look and the sleep of one that waits.
            let _guard = lock.lock();
            freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn queue(records: usize, bytes: usize) -> (Queue, KafkaMetrics) {
        let metrics = KafkaMetrics::register(&mut Registry::default());
        (Queue::new(records, bytes, metrics.clone()), metrics)
    }

    #[test]
    fn it_is_full_by_number_or_by_bytes_until_a_place_is_given_back() {
        let (queue, metrics) = queue(2, 10);
        let first = queue.enter(4).ok().unwrap();
        assert!(matches!(queue.enter(7), Err(LogError::Full(_))));
        let second = queue.enter(6).ok().unwrap();
        assert!(matches!(queue.enter(0), Err(LogError::Full(_))));
        assert_eq!(metrics.appends_in_flight.get(), 2);
        drop(first);
        assert!(matches!(queue.enter(5), Err(LogError::Full(_))), "one that was refused has taken nothing");
        let third = queue.enter(4).ok().unwrap();
        drop((second, third));
        assert_eq!(metrics.appends_in_flight.get(), 0);
        assert!(queue.enter(10).is_ok());
    }

    #[test]
    fn whoever_waits_is_told_when_the_last_place_is_free() {
        let (queue, _) = queue(2, 10);
        let (waiting, places) = (Queue(Arc::clone(&queue.0)), [queue.enter(1).ok(), queue.enter(1).ok()]);
        let waiter = std::thread::spawn(move || {
            let begin = Instant::now();
            waiting.wait_until_empty(Duration::from_secs(60));
            begin.elapsed()
        });
        drop(places);
        assert!(waiter.join().unwrap() < Duration::from_secs(60), "not by its timeout");
        let _place = queue.enter(1).ok().unwrap();
        queue.wait_until_empty(Duration::from_millis(1));
    }
}
