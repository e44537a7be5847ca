//! The consumers that fetch for readers: as few as possible, because each has connections and threads of its own.
//!
//! A consumer fetches all its partitions with one request to each broker, but a partition only once: so two readers of one
//! partition are served by two consumers, and readers of different partitions share one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use skywave_ports::log::{LogError, LogPosition, Partition};
use tokio::sync::Notify;

use crate::background::{Background, Detached};
use crate::client::{self, Ear, Positions, millis};
use crate::config::KafkaConfig;
use crate::metrics::{KafkaMetrics, PartitionLabel};

/// How long a broker may hold back the answer to a fetch that finds nothing. A reader that begins waits for as long before
/// its partition is part of the next fetch.
const FETCH_WAIT: Duration = Duration::from_millis(100);
/// The same at leisure: how late a record may come that somebody else has appended.
const LEISURE_WAIT: Duration = Duration::from_millis(20);
/// So much is worth an answer sooner.
const LEISURE_BYTES: usize = 1024 * 1024;
/// How often what a consumer reports is taken from it.
const LISTEN: Duration = Duration::from_millis(200);

/// How soon a fetch is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// When there is a record.
    Prompt,
    /// When there are many, or after a moment.
    Leisurely,
}

/// Clones share the consumers.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    config: Arc<KafkaConfig>,
    topic: String,
    metrics: KafkaMetrics,
    background: Background,
    fetchers: Mutex<Vec<Arc<Fetcher>>>,
}

/// A consumer that fetches for at most one reader of each partition.
struct Fetcher {
    pace: Pace,
    consumer: Arc<BaseConsumer<Ear>>,
    places: Arc<Places>,
    /// It brings nothing, though there is something: nobody takes a place in it any more.
    stalled: AtomicBool,
    /// Goes last: so the consumer ends on its listener's thread, where it may block.
    _ended: End,
}

/// Ends the thread that listens.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The partitions that are taken, and where their readers stand.
#[derive(Default)]
struct Places(Mutex<HashMap<Partition, Arc<AtomicI64>>>);

impl Positions for Places {
    fn next(&self, partition: i32) -> Option<i64> {
        let places = self.0.lock();
        places.get(&partition.cast_unsigned()).map(|next| next.load(Ordering::Relaxed))
    }
}

/// A place in a consumer. Given back in the background when dropped.
pub(super) type Fetch = Detached<Place>;

pub(super) struct Place {
    pool: Pool,
    fetcher: Arc<Fetcher>,
    partition: Partition,
    next: Arc<AtomicI64>,
    /// `None` only at its end.
    queue: Option<PartitionQueue<Ear>>,
}

impl Pool {
    pub(crate) fn new(config: Arc<KafkaConfig>, metrics: KafkaMetrics, background: Background) -> Self {
        let topic = config.topic();
        Self(Arc::new(Shared { config, topic, metrics, background, fetchers: Mutex::default() }))
    }

    /// Begins to fetch; `arrived` is told when there is something. Blocks for a moment.
    pub(super) fn fetch(
        &self,
        partition: Partition,
        from: LogPosition,
        pace: Pace,
        arrived: Arc<Notify>,
    ) -> Result<Fetch, LogError> {
        let failed = |error: ClientError| LogError::Unavailable(error.to_string());
        let next = Arc::new(AtomicI64::new(from.cast_signed()));
        let fetcher = self.seat(partition, pace, &next).map_err(failed)?;
        let number = partition.cast_signed();
        let Some(mut queue) = fetcher.consumer.split_partition_queue(&self.0.topic, number) else {
            fetcher.places.0.lock().remove(&partition);
            return Err(LogError::NoPartition(partition));
        };
        queue.set_nonempty_callback(move || arrived.notify_one());
        let place = Place { pool: self.clone(), fetcher, partition, next, queue: Some(queue) };
        let assigned = place.assign(from);
        let place = Detached::new(place, self.0.background.clone());
        assigned.map(|()| place).map_err(failed)
    }

    /// Takes the partition's place in the first consumer of that pace where it is free.
    fn seat(
        &self,
        partition: Partition,
        pace: Pace,
        next: &Arc<AtomicI64>,
    ) -> Result<Arc<Fetcher>, ClientError> {
        let mut fetchers = self.0.fetchers.lock();
        let free = |fetcher: &&Arc<Fetcher>| fetcher.pace == pace && !fetcher.stalled.load(Ordering::Relaxed);
        for fetcher in fetchers.iter().filter(free) {
            if fetcher.places.0.lock().try_insert(partition, Arc::clone(next)).is_ok() {
                return Ok(Arc::clone(fetcher));
            }
        }
        let fetcher = Arc::new(self.fetcher(fetchers.len(), pace)?);
        fetcher.places.0.lock().insert(partition, Arc::clone(next));
        fetchers.push(Arc::clone(&fetcher));
        Ok(fetcher)
    }

    fn fetcher(&self, number: usize, pace: Pace) -> Result<Fetcher, ClientError> {
        let (wait, bytes) = match pace {
            Pace::Prompt => (FETCH_WAIT, 1),
            Pace::Leisurely => (LEISURE_WAIT, LEISURE_BYTES),
        };
        let role = format!("reader-{number}");
        let config = &self.0.config;
        let mut settings = client::settings(config, &role);
        settings
            // Asked for by the library, but never joined.
            .set("group.id", config.group("readers"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "false")
            // A position that is not there is an error, never another position.
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_uncommitted")
            .set("fetch.wait.max.ms", millis(wait))
            .set("fetch.min.bytes", bytes.to_string())
            .set("fetch.error.backoff.ms", "10")
            // How soon a reader that has emptied its queue is fetched for again.
            .set("fetch.queue.backoff.ms", "5")
            .set("message.max.bytes", config.message_bytes().to_string())
            .set("queued.max.messages.kbytes", config.prefetch_bytes.div_ceil(1024).to_string())
            .set("queued.min.messages", "100000")
            .set("max.partition.fetch.bytes", config.prefetch_bytes.min(1024 * 1024).to_string());
        let places = Arc::new(Places::default());
        let ear = Ear::new(&role, self.0.metrics.clone()).with_positions(Arc::clone(&places) as _);
        let consumer: Arc<BaseConsumer<Ear>> = Arc::new(settings.create_with_context(ear)?);
        let ended = Arc::new(AtomicBool::new(false));
        let (listener, end) = (Arc::clone(&consumer), Arc::clone(&ended));
        self.0.background.run(move || listen(&listener, &end));
        Ok(Fetcher { pace, consumer, places, stalled: AtomicBool::new(false), _ended: End(ended) })
    }

    /// Consumers beyond the first end with their last reader, stalled ones wherever they stand.
    fn tidy(&self) {
        let mut fetchers = self.0.fetchers.lock();
        fetchers.retain(|fetcher| {
            !fetcher.stalled.load(Ordering::Relaxed) || !fetcher.places.0.lock().is_empty()
        });
        while fetchers.len() > 1 && fetchers.last().is_some_and(|fetcher| fetcher.places.0.lock().is_empty())
        {
            fetchers.pop();
        }
    }
}

/// Serves what a consumer reports, until its end. Records do not come this way.
fn listen(consumer: &BaseConsumer<Ear>, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        if let Some(Err(error)) = consumer.poll(LISTEN) {
            // Whoever is concerned hears of it by the partition's own queue; the rest heals by itself.
            tracing::debug!(%error, "a reader's consumer met an error");
        }
    }
}

impl Place {
    fn assign(&self, from: LogPosition) -> Result<(), ClientError> {
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(from.cast_signed());
        list.add_partition_offset(&self.pool.0.topic, self.partition.cast_signed(), offset)?;
        self.fetcher.consumer.incremental_assign(&list)
    }

    /// The next message or error, if there is one.
    pub(super) fn poll(&self) -> Option<Result<BorrowedMessage<'_>, ClientError>> {
        self.queue.as_ref().and_then(|queue| queue.poll(Duration::ZERO))
    }

    /// Says that nothing comes though there is something: whoever begins (anew) gets another consumer.
    pub(super) fn is_stalled(&self) {
        self.fetcher.stalled.store(true, Ordering::Relaxed);
    }

    /// As if the consumer had lost every broker.
    #[cfg(test)]
    pub(super) fn silence(&self) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.pool.0.topic, self.partition.cast_signed());
        self.fetcher.consumer.pause(&list).expect("a pause");
    }

    /// Says where the reader stands, for its lag.
    pub(super) fn stands_at(&self, next: LogPosition) {
        self.next.store(next.cast_signed(), Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.pool.0.topic, self.partition.cast_signed());
        if let Err(error) = self.fetcher.consumer.incremental_unassign(&list) {
            tracing::debug!(partition = self.partition, %error, "a reader's partition was not assigned any more");
        }
        // Before the place is free: its end would silence the queue of the next reader, which is the same one.
        drop(self.queue.take());
        self.fetcher.places.0.lock().remove(&self.partition);
        self.pool.0.metrics.reader_lag.remove(&PartitionLabel { partition: self.partition });
        self.pool.tidy();
    }
}
