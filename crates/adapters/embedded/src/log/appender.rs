//! The one writer of the log.
//!
//! A commit is one `INSERT` (its own transaction): everything that waited, as one row. After it returned, the batch is on
//! the disk; then the readers see it and the appends complete.
//!
//! When a commit fails it may still have taken place (its sync failed, its answer was lost). So the appender makes sure
//! before anybody is answered: after an error that leaves doubt it opens the file anew, copies the journal into the
//! database file and syncs that (what a failed sync left in the page cache is thereby written again, or the copy fails as
//! well), and reads the last batch back. In it: acknowledged, neither lost nor doubled. Not in it: refused with `Full`,
//! certainly not appended. If even this fails the appends are answered `Unavailable`, and until it succeeds nothing more
//! is taken. The log heals by itself: with each later append, but not more often than [`HEAL_EVERY`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skywave_ports::log::{LogError, LogPosition};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::batch::Batch;
use super::tail::Tail;
use super::{FORMAT, LogOptions, reader};
use crate::folder::{OpenError, Place};
use crate::journal::Journal;
use crate::sqlite::{self, Trouble};

/// Least time between two attempts of a log in trouble.
const HEAL_EVERY: Duration = Duration::from_millis(200);
/// Batches one trimming step deletes: bounded work between two commits.
const TRIM_BATCHES: i64 = 64;
/// What a commit adds to the journal beyond the records: the rewritten end of the table.
const COMMIT_OVERHEAD: u64 = 8 * 1024;

pub(super) enum Job {
    Append(Waiting),
    Trim { before: LogPosition, done: oneshot::Sender<Result<(), LogError>> },
}

/// An append that waits for its commit.
pub(super) struct Waiting {
    pub(super) value: Bytes,
    /// Permits of the queue's room, given back when the append is answered.
    pub(super) permits: u32,
    pub(super) done: oneshot::Sender<Result<LogPosition, LogError>>,
}

/// When commits are due: on average one per interval, and up to [`Pace::BURST`] of them at once after a pause. So what
/// comes rarely is committed at once, and what comes often is gathered.
struct Pace {
    interval: Duration,
    due: Instant,
}

impl Pace {
    const BURST: u32 = 10;

    fn new(interval: Duration) -> Self {
        Self { interval, due: Instant::now() }
    }

    /// A commit before this time waits for company.
    fn due(&self) -> Instant {
        self.due
    }

    fn committed(&mut self, now: Instant) {
        let earliest = now.checked_sub(self.interval * (Self::BURST - 1)).unwrap_or(now);
        self.due = self.due.max(earliest) + self.interval;
    }
}

pub(super) struct Appender {
    place: Place,
    options: Arc<LogOptions>,
    room: Arc<Semaphore>,
    tail: Arc<Tail>,
    /// `None` after an error that left doubt, until healed.
    connection: Option<SqliteConnection>,
    ailment: Option<Ailment>,
    journal: Journal,
    /// Asked for and not yet done.
    trimming: Option<Trimming>,
}

/// A trim under way, and who waits for it.
struct Trimming {
    before: LogPosition,
    done: Vec<oneshot::Sender<Result<(), LogError>>>,
}

/// The batch that is about to be written.
#[derive(Default)]
struct Gathering {
    waiting: Vec<Waiting>,
    bytes: usize,
}

/// Why nothing is taken at present.
struct Ailment {
    reason: String,
    /// A batch whose fate is not known yet; its appends were answered `Unavailable`.
    unresolved: Option<Batch>,
    heal_at: Instant,
}

impl Appender {
    pub(super) async fn open(
        place: Place,
        options: Arc<LogOptions>,
        room: Arc<Semaphore>,
    ) -> Result<(Self, Arc<Tail>), OpenError> {
        let path = place.database.clone();
        let damaged = |reason: String| OpenError::Damaged { path: path.clone(), reason };
        let mut connection = sqlite::open(&place.database, &FORMAT).await?;
        let failed =
            |error: sqlx::Error| OpenError::Unavailable { path: path.clone(), reason: error.to_string() };
        sqlite::settle(&mut connection).await.map_err(failed)?;
        let end = last_batch(&mut connection).await.map_err(|error| damaged(error.to_string()))?;
        let end = end.map_or(0, |last| last.end());
        let first = first_position(&mut connection).await.map_err(|error| damaged(error.to_string()))?;
        let tail = Arc::new(Tail::new(first, end, options.tail_bytes));
        let journal = Journal::new(place.database.clone(), options.journal_bytes);
        let appender = Self {
            place,
            options,
            room,
            tail: Arc::clone(&tail),
            connection: Some(connection),
            ailment: None,
            journal,
            trimming: None,
        };
        Ok((appender, tail))
    }

    /// Runs until the log is dropped.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut pace = Pace::new(self.options.commit_interval);
        while let Some(job) = self.next_job(&mut queue).await {
            let mut gathering = Gathering::default();
            job.into_iter().for_each(|job| self.take(job, &mut gathering));
            self.gather(&mut queue, &mut gathering, pace.due()).await;
            if !gathering.waiting.is_empty() {
                let now = Instant::now();
                pace.committed(now);
                // While this commit is under way no other one begins; how long it takes is a guess.
                self.tail.set_next_commit(pace.due().max(now + self.options.commit_interval));
                self.append(gathering.waiting).await;
                self.tail.set_next_commit(pace.due());
                if let Some(connection) = self.connection.as_mut() {
                    self.journal.tend(connection).await;
                }
            }
            self.trim_step().await;
        }
        if let Some(connection) = self.connection.take() {
            // Closing copies the journal; if that fails, the next opening does.
            let _ = connection.close().await;
        }
    }

    /// The next job; with a trim to go on with there may be none. The outer `None` ends the appender.
    async fn next_job(&self, queue: &mut mpsc::Receiver<Job>) -> Option<Option<Job>> {
        if self.trimming.is_none() {
            return queue.recv().await.map(Some);
        }
        match queue.try_recv() {
            Ok(job) => Some(Some(job)),
            Err(mpsc::error::TryRecvError::Empty) => Some(None),
            Err(mpsc::error::TryRecvError::Disconnected) => None,
        }
    }

    /// Takes what waits, and what comes until the next commit is due.
    async fn gather(&mut self, queue: &mut mpsc::Receiver<Job>, gathering: &mut Gathering, due: Instant) {
        while !self.is_full(gathering) {
            if let Ok(job) = queue.try_recv() {
                self.take(job, gathering);
                continue;
            }
            let waiting = gathering.waiting.len();
            if waiting == 0 || waiting >= self.options.commit_records || due <= Instant::now() {
                return;
            }
            match tokio::time::timeout_at(due, queue.recv()).await {
                Ok(Some(job)) => self.take(job, gathering),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn is_full(&self, gathering: &Gathering) -> bool {
        gathering.waiting.len() >= self.options.batch_records || gathering.bytes >= self.options.batch_bytes
    }

    fn take(&mut self, job: Job, gathering: &mut Gathering) {
        match job {
            Job::Append(append) => {
                gathering.bytes += append.value.len();
                gathering.waiting.push(append);
            }
            Job::Trim { before, done } => {
                let trimming = self.trimming.get_or_insert_with(|| Trimming { before, done: Vec::new() });
                trimming.before = trimming.before.max(before);
                trimming.done.push(done);
            }
        }
    }

    async fn append(&mut self, waiting: Vec<Waiting>) {
        let permits = waiting.iter().map(|append| append.permits as usize).sum();
        if let Err(refusal) = self.heal().await {
            answer(waiting, |_| Err(refusal.clone()));
        } else {
            self.commit(waiting).await;
        }
        self.room.add_permits(permits);
    }

    async fn commit(&mut self, waiting: Vec<Waiting>) {
        let values = waiting.iter().map(|append| append.value.clone()).collect();
        let batch = Batch { base: self.tail.end(), values };
        let base = batch.base;
        let error = match self.insert(&batch).await {
            Ok(()) => {
                self.tail.push(batch);
                return answer(waiting, |at| Ok(base + at));
            }
            Err(error) => error,
        };
        tracing::error!(%error, records = batch.values.len(), "the log cannot be written; publishes are refused until it can");
        let doubt = Trouble::of(&error) != Trouble::NoRoom;
        if doubt {
            self.connection = None;
        }
        let reason = error.to_string();
        match self.is_in(&batch).await {
            Ok(true) => {
                self.tail.push(batch);
                answer(waiting, |at| Ok(base + at));
            }
            Ok(false) => {
                answer(waiting, |_| Err(LogError::Full(reason.clone())));
                self.ail(reason, None);
            }
            Err(error) => {
                let reason = format!("{reason}; then {error}");
                answer(waiting, |_| Err(LogError::Unavailable(reason.clone())));
                self.ail(reason, Some(batch));
            }
        }
    }

    async fn insert(&mut self, batch: &Batch) -> Result<(), sqlx::Error> {
        let row = batch.encode();
        self.journal.wrote(row.len() as u64 + COMMIT_OVERHEAD);
        // Invariant: `heal` has left a connection.
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        sqlx::query("INSERT INTO batches (base, count, records) VALUES (?1, ?2, ?3)")
            .bind(batch.base as i64)
            .bind(batch.values.len() as i64)
            .bind(row)
            .execute(connection)
            .await?;
        Ok(())
    }

    fn ail(&mut self, reason: String, unresolved: Option<Batch>) {
        self.ailment = Some(Ailment { reason, unresolved, heal_at: Instant::now() + HEAL_EVERY });
    }

    /// Makes ready for a commit, or says why there cannot be one: certainly nothing is appended then.
    async fn heal(&mut self) -> Result<(), LogError> {
        let Some(ailment) = &mut self.ailment else { return Ok(()) };
        if Instant::now() < ailment.heal_at {
            return Err(LogError::Full(ailment.reason.clone()));
        }
        ailment.heal_at = Instant::now() + HEAL_EVERY;
        if let Some(batch) = ailment.unresolved.clone() {
            match self.is_in(&batch).await {
                Ok(true) => self.tail.push(batch),
                Ok(false) => {}
                Err(error) => return Err(LogError::Full(error)),
            }
        } else if self.connection.is_none() {
            self.reconnect().await.map_err(|error| LogError::Full(error.to_string()))?;
        }
        // Whether it can be written again the next commit will show.
        self.ailment = None;
        tracing::info!("the log is tried again");
        Ok(())
    }

    /// Whether the file holds this batch, durably.
    async fn is_in(&mut self, batch: &Batch) -> Result<bool, String> {
        let connection = self.reconnect().await.map_err(|error| error.to_string())?;
        let last = last_batch(connection).await.map_err(|error| error.to_string())?;
        match last {
            Some(last) if last == *batch => Ok(true),
            last if last.as_ref().map_or(0, Batch::end) == batch.base => Ok(false),
            last => Err(format!(
                "the file ends at {}, where {} or {} was expected: somebody else has written to it",
                last.as_ref().map_or(0, Batch::end),
                batch.base,
                batch.end(),
            )),
        }
    }

    /// The connection, made anew if the last one left doubt.
    async fn reconnect(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = sqlite::connect_writer(&self.place.database, false).await?;
                if !sqlite::checkpoint(&mut connection).await? {
                    return Err(sqlx::Error::Protocol("the journal could not be copied whole".into()));
                }
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// One step of the trim that was asked for; answers it when it was the last.
    async fn trim_step(&mut self) {
        let Some(Trimming { before, .. }) = self.trimming else { return };
        let step = match self.delete_before(before).await {
            Ok(deleted) if deleted == TRIM_BATCHES as u64 => return,
            Ok(_) => Ok(()),
            Err(error) => Err(LogError::Unavailable(error.to_string())),
        };
        for done in self.trimming.take().into_iter().flat_map(|trimming| trimming.done) {
            let _ = done.send(step.clone());
        }
    }

    /// Forgets whole batches before `before`, never the last one; returns how many.
    async fn delete_before(&mut self, before: LogPosition) -> Result<u64, sqlx::Error> {
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        let deleted = sqlx::query(
            "DELETE FROM batches WHERE base IN (SELECT base FROM batches WHERE base < ?1 \
             AND base + count <= ?1 AND base < (SELECT max(base) FROM batches) ORDER BY base LIMIT ?2)",
        )
        .bind(before as i64)
        .bind(TRIM_BATCHES)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        self.journal.wrote(deleted * COMMIT_OVERHEAD);
        self.tail.trimmed(first_position(connection).await?);
        Ok(deleted)
    }
}

async fn first_position(connection: &mut SqliteConnection) -> Result<LogPosition, sqlx::Error> {
    let row = sqlx::query("SELECT coalesce(min(base), 0) FROM batches").fetch_one(connection).await?;
    Ok(row.get::<i64, _>(0) as u64)
}

async fn last_batch(connection: &mut SqliteConnection) -> Result<Option<Batch>, LogError> {
    let row = sqlx::query("SELECT base, count, records FROM batches ORDER BY base DESC LIMIT 1")
        .fetch_optional(connection)
        .await
        .map_err(|error| LogError::Unavailable(error.to_string()))?;
    row.map(reader::batch).transpose()
}

fn answer(waiting: Vec<Waiting>, result: impl Fn(u64) -> Result<LogPosition, LogError>) {
    for (at, append) in (0..).zip(waiting) {
        // An append that nobody waits for any more needs no answer.
        let _ = append.done.send(result(at));
    }
}

#[cfg(test)]
mod tests;
