//! Writes the unpersisted tail of a partition to the store, and trims the log behind what is stored.
//!
//! - One commit at a time, conditional on the checkpoint of the one before.
//! - A store that fails is tried again, with backoff, for as long as it takes: meanwhile the tail fills up and pauses
//!   sequencing (see `tail`), and nothing is lost, because the log is trimmed only behind a committed checkpoint.
//! - Before a commit goes past records that cannot be read they are dead letters (`dead_letters`).
//! - A checkpoint that has moved means that another owner has written: this one stops ([`Conflict`]). Both have computed
//!   the same offsets, so nothing needs undoing.

use std::sync::Arc;
use std::time::Instant;

use skywave_ports::log::{LogPosition, Partition};
use skywave_ports::{Checkpoint, Commit, DedupKeep, Log, Store, StoreError};

use crate::backoff::Backoff;
use crate::config::CoreConfig;
use crate::dead_letters::LogLetters;
use crate::metrics::{CoreMetrics, PartitionLabel};
use crate::tail::{Batch, Tail};

/// Positions between two trims of the log: trimming is cheap, but not free.
const TRIM_EVERY: u64 = 20_000;

/// A batch may have so many times the records that trigger it: a store that lags catches up with larger ones.
const CATCH_UP: usize = 8;

/// Another owner of the partition has written to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) expected: Checkpoint,
    pub(crate) found: Checkpoint,
}

pub(crate) struct Persister {
    pub(crate) partition: Partition,
    pub(crate) checkpoint: Checkpoint,
    /// Time of the newest dedup entry: the dedup window ends there.
    pub(crate) newest_dedup_ms: u64,
    pub(crate) tail: Arc<Tail>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: Arc<CoreConfig>,
    pub(crate) letters: LogLetters,
    pub(crate) metrics: CoreMetrics,
}

impl Persister {
    /// Runs until the tail is closed and written, or another owner has written.
    pub(crate) async fn run(mut self) -> Result<(), Conflict> {
        let mut trimmed: LogPosition = 0;
        loop {
            self.tail.filled(1).await;
            // Records keep coming: a batch is worth a short wait for more of them.
            let full = self.tail.filled(self.config.persist_records);
            let _ = tokio::time::timeout(self.config.persist_after(), full).await;
            let Some(batch) = self.tail.batch(self.config.persist_records * CATCH_UP) else {
                debug_assert!(self.tail.is_closed(), "only a closed tail wakes the persister for nothing");
                self.trim(self.checkpoint).await;
                return Ok(());
            };
            self.persist(batch).await?;
            if self.checkpoint >= trimmed + TRIM_EVERY {
                trimmed = self.checkpoint;
                self.trim(trimmed).await;
            }
        }
    }

    async fn persist(&mut self, batch: Batch) -> Result<(), Conflict> {
        let Batch { next, records, publications, dedup, unreadable } = batch;
        self.letters.bury(&unreadable, &self.tail).await;
        self.newest_dedup_ms = dedup.iter().map(|entry| entry.time_ms).fold(self.newest_dedup_ms, u64::max);
        let commit = Commit {
            expected: self.checkpoint,
            next,
            publications,
            dedup,
            dedup_keep: DedupKeep {
                not_before_ms: self.newest_dedup_ms.saturating_sub(self.config.dedup_window_ms()),
                entries: self.config.dedup_entries,
            },
        };
        self.commit(commit).await?;
        self.checkpoint = next;
        self.tail.remove_before(next);
        self.metrics.persisted.inc_by(records as u64);
        let label = PartitionLabel { partition: self.partition };
        self.metrics.checkpoint.get_or_create(&label).set(next as i64);
        self.metrics.unpersisted.get_or_create(&label).set(self.tail.len() as i64);
        Ok(())
    }

    /// Commits, however often it takes.
    async fn commit(&self, commit: Commit) -> Result<(), Conflict> {
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            match self.store.commit(self.partition, commit.clone()).await {
                Ok(()) => {
                    self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
                    if backoff.failures() > 0 {
                        tracing::info!(partition = self.partition, "the store takes commits again");
                    }
                    return Ok(());
                }
                // An earlier attempt took place although its answer was lost.
                Err(StoreError::CheckpointMoved { found, .. })
                    if backoff.failures() > 0 && found == commit.next =>
                {
                    return Ok(());
                }
                Err(StoreError::CheckpointMoved { expected, found }) => {
                    self.metrics.checkpoint_conflicts.inc();
                    return Err(Conflict { expected, found });
                }
                Err(StoreError::Unavailable(reason)) => {
                    self.metrics.commit_failures.inc();
                    if backoff.failures() == 0 {
                        tracing::warn!(partition = self.partition, %reason, "the store takes no commits; trying on");
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    async fn trim(&self, before: LogPosition) {
        if let Err(error) = self.log.trim(self.partition, before).await {
            // Nothing depends on it now; the next trim covers this one.
            tracing::warn!(partition = self.partition, %error, "the log could not be trimmed");
        }
    }
}
