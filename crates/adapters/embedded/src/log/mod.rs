//! The log of a single node: one partition in `log.db`, written in group commits.
//!
//! - [`Log::append`] hands the record to the *appender* and waits.
//! - The appender writes everything that waits as one row in one synced transaction, then completes the appends and
//!   publishes the batch to the *tail*; while it commits, the next batch gathers.
//! - Readers take batches from the tail; one that lags behind it reads the table.
//! - Trimming deletes whole batches; the last batch always stays, so that positions go on.
//!
//! A failed commit is followed by a look at what the file holds (see `appender`): an append is acknowledged if and only if
//! its record is there.

mod appender;
mod batch;
mod reader;
mod tail;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use skywave_ports::groups::Groups;
use skywave_ports::log::{Assignments, Log, LogError, LogPosition, LogReader, Partition};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::folder::{OpenError, Place};
use crate::sqlite::Format;
use appender::{Appender, Job, Waiting};
use reader::{Reader, Table};
use tail::Tail;

const FORMAT: Format = Format {
    application_id: 0x5357_4c67,
    version: 1,
    schema: "CREATE TABLE batches (base INTEGER PRIMARY KEY, count INTEGER NOT NULL, records BLOB NOT NULL) STRICT",
};

/// The settings of a log. The defaults suit a node of any size.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Largest record, in bytes.
    pub record_bytes: usize,
    /// Appends that wait for their commit, by number and by bytes. When either is full `append` waits.
    pub queue_records: usize,
    pub queue_bytes: usize,
    /// Most records in one commit, by number and by bytes.
    pub batch_records: usize,
    pub batch_bytes: usize,
    /// Average time between two commits under load, unless `commit_records` wait. Appends that come less often than this
    /// are committed at once; under load it bounds what is spent on commits (a sync alone costs the kernel about 100 µs
    /// of processor time).
    pub commit_interval: Duration,
    /// So many waiting records are worth a commit before the interval is over.
    pub commit_records: usize,
    /// Newest records kept in memory for readers, in bytes. A reader further behind reads the file.
    pub tail_bytes: usize,
    /// Journal size at which it is copied into the database file, in bytes.
    pub journal_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            // The largest client message of the protocol, with room for what surrounds it.
            record_bytes: 17 * 1024 * 1024,
            queue_records: 16_384,
            queue_bytes: 64 * 1024 * 1024,
            batch_records: 4_096,
            batch_bytes: 4 * 1024 * 1024,
            commit_interval: Duration::from_millis(5),
            commit_records: 64,
            tail_bytes: 16 * 1024 * 1024,
            journal_bytes: 16 * 1024 * 1024,
        }
    }
}

/// An open log. It lives on the runtime it was opened on. The last record that was acknowledged is on the disk; dropping
/// the log abandons appends that were not.
pub struct SqliteLog {
    appender: JoinHandle<()>,
    options: Arc<LogOptions>,
    jobs: mpsc::Sender<Job>,
    /// Held from an append's first poll until its record is in the queue: so appends stand in the order in which they
    /// were started, also when the queue is full. (The mutex is fair.)
    turn: Mutex<()>,
    room: Arc<Semaphore>,
    tail: Arc<Tail>,
    table: Arc<Table>,
    groups: Groups,
}

impl SqliteLog {
    /// Opens `log.db` in `folder`, making both if needed.
    pub async fn open(folder: &Path, options: LogOptions) -> Result<Self, OpenError> {
        let place = Place::take(folder, "log.db").await?;
        let options = Arc::new(options);
        let database = place.database.clone();
        let room = Arc::new(Semaphore::new(options.queue_bytes.min(Semaphore::MAX_PERMITS)));
        let (appender, tail) = Appender::open(place, Arc::clone(&options), Arc::clone(&room)).await?;
        let (jobs, queue) = mpsc::channel(options.queue_records);
        let appender = tokio::spawn(appender.run(queue));
        Ok(Self {
            appender,
            options,
            jobs,
            turn: Mutex::new(()),
            room,
            table: Arc::new(Table::new(database)),
            tail,
            groups: Groups::new(1),
        })
    }

    /// Ends the log: returns when the file is closed and another process may open it. Dropping the log does the same in the
    /// background.
    pub async fn close(self) {
        let Self { appender, jobs, .. } = self;
        drop(jobs);
        if let Err(error) = appender.await {
            tracing::error!(%error, "the log's appender did not end by itself");
        }
    }

    /// Permits an append of `bytes` takes: its record and what surrounds it, at most all there are.
    fn permits(&self, bytes: usize) -> u32 {
        const OVERHEAD: usize = 128;
        let all = self.options.queue_bytes.min(Semaphore::MAX_PERMITS);
        u32::try_from((bytes + OVERHEAD).min(all)).unwrap_or(u32::MAX)
    }

    /// Puts a record into the queue. While there is room this takes no turn through the scheduler.
    async fn enqueue(&self, value: Bytes) -> Result<Position, LogError> {
        let (done, position) = oneshot::channel();
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(_) => self.turn.lock().await,
        };
        let permits = self.permits(value.len());
        // The semaphore is never closed; the appender gives the permits back.
        match self.room.try_acquire_many(permits) {
            Ok(room) => room.forget(),
            Err(_) => self.room.acquire_many(permits).await.map_err(|_| closed())?.forget(),
        }
        match self.jobs.try_send(Job::Append(Waiting { value, permits, done })) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => self.jobs.send(job).await.map_err(|_| closed())?,
            Err(TrySendError::Closed(_)) => return Err(closed()),
        }
        Ok(position)
    }
}

/// Where an append learns its position.
type Position = oneshot::Receiver<Result<LogPosition, LogError>>;

fn closed() -> LogError {
    LogError::Unavailable("the log is closed".into())
}

fn only_partition(partition: Partition) -> Result<(), LogError> {
    if partition == 0 { Ok(()) } else { Err(LogError::NoPartition(partition)) }
}

#[async_trait]
impl Log for SqliteLog {
    /// One: a single sequencer is never the bottleneck of a single disk.
    fn partitions(&self) -> u32 {
        1
    }

    async fn append(&self, partition: Partition, _key: Bytes, value: Bytes) -> Result<LogPosition, LogError> {
        only_partition(partition)?;
        let (limit, got) = (self.options.record_bytes, value.len());
        if got > limit {
            return Err(LogError::TooLarge { limit, got });
        }
        self.enqueue(value).await?.await.unwrap_or_else(|_| Err(closed()))
    }

    fn record_bytes(&self) -> usize {
        self.options.record_bytes
    }

    fn next_begin(&self) -> Option<Instant> {
        Some(self.tail.next_commit())
    }

    async fn bounds(&self, partition: Partition) -> Result<(LogPosition, LogPosition), LogError> {
        only_partition(partition)?;
        Ok(self.tail.bounds())
    }

    async fn read(&self, partition: Partition, from: LogPosition) -> Result<Box<dyn LogReader>, LogError> {
        only_partition(partition)?;
        let (first, _) = self.tail.bounds();
        if from < first {
            return Err(LogError::Trimmed { asked: from, first });
        }
        Ok(Box::new(Reader::new(Arc::clone(&self.tail), Arc::clone(&self.table), from)))
    }

    async fn trim(&self, partition: Partition, before: LogPosition) -> Result<(), LogError> {
        only_partition(partition)?;
        let (done, answer) = oneshot::channel();
        self.jobs.send(Job::Trim { before, done }).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn join(&self, group: &str) -> Result<Box<dyn Assignments>, LogError> {
        Ok(Box::new(self.groups.join(group)))
    }
}

#[cfg(test)]
mod tests;
