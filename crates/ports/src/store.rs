//! The store: history and sequencer state, written in batches from the log.

use std::sync::Arc;

use async_trait::async_trait;
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, Epoch, Offset, Publication};

use crate::dedup::DedupEntry;
use crate::log::{LogPosition, Partition};

/// History and checkpoints.
///
/// Contract:
/// - *Atomicity*: [`Store::commit`] writes publications, heads, dedup entries and the checkpoint in one transaction, or
///   nothing. After `Unavailable` the outcome is unknown; committing the same batch again is safe, because a commit only
///   succeeds when the checkpoint is still the expected one.
/// - *Ordering*: reads that start after a commit returned see it. What is kept of a channel is dense: retention only takes
///   from the old end.
/// - *Durability*: what was committed survives `kill -9`. It need not survive the loss of the medium: the log can rebuild
///   what stands behind the checkpoint as long as it is not trimmed.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What the sequencer of a partition starts from. A new store makes a new epoch and remembers it.
    async fn load(&self, partition: Partition, dedup_since_ms: u64) -> Result<Snapshot, StoreError>;

    /// Writes a batch, if the stored checkpoint still is `batch.expected`; `CheckpointMoved` if it is not: another owner
    /// has written, and the caller must stop writing for this partition.
    async fn commit(&self, partition: Partition, batch: Commit) -> Result<(), StoreError>;

    /// The stored checkpoint of a partition, without what [`Store::load`] brings along.
    async fn checkpoint(&self, partition: Partition) -> Result<Checkpoint, StoreError> {
        Ok(self.load(partition, u64::MAX).await?.checkpoint)
    }

    /// Publications of a channel inside the query's bounds and direction, at most `limit`, with the stored head. It may stop
    /// behind the first one with which their data exceed
    /// [`HISTORY_PAGE_BYTES_DEFAULT`](skywave_protocol::limits::HISTORY_PAGE_BYTES_DEFAULT): more is not sent at once.
    async fn history(&self, query: &HistoryQuery) -> Result<HistoryRows, StoreError>;

    /// Forgets what the retention of `namespace` no longer keeps (dedup entries have their own horizon, [`DedupKeep`]).
    /// Bounded work per call: the walk through the namespace's channels goes on where the last call for it stopped, and
    /// `complete` says that it has reached the end.
    async fn retain(&self, namespace: &str, retention: Retention) -> Result<Retained, StoreError>;
}

/// The next log position to be read, given everything before it is in the store.
pub type Checkpoint = LogPosition;

#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub epoch: Epoch,
    pub checkpoint: Checkpoint,
    /// Newest offset of every channel of the partition.
    pub heads: Vec<(ChannelName, Offset)>,
    /// In log order: at least those with a record time at or after the asked one that `DedupKeep` demanded.
    pub dedup: Vec<DedupEntry>,
}

#[derive(Debug, Clone)]
pub struct Commit {
    pub expected: Checkpoint,
    pub next: Checkpoint,
    /// In log order, so that the offsets of each channel rise by one.
    pub publications: Vec<StoredPublication>,
    pub dedup: Vec<DedupEntry>,
    pub dedup_keep: DedupKeep,
}

/// Which dedup entries of the partition must be kept: those with a record time at or after `not_before_ms`, and of these
/// the newest `entries`. All others may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupKeep {
    pub not_before_ms: u64,
    pub entries: usize,
}

/// A publication with its channel, as it goes into the store. Heads follow from the offsets.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPublication {
    pub channel: ChannelName,
    pub publication: Arc<Publication>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRows {
    pub epoch: Epoch,
    /// Newest stored offset (0: none yet).
    pub head: Offset,
    /// Oldest kept offset (`head + 1` when nothing is kept).
    pub first: Offset,
    pub publications: Vec<Arc<Publication>>,
}

/// What a namespace keeps per channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub size: u32,
    /// Publications with a record time before this are forgotten (milliseconds since the Unix epoch).
    pub not_before_ms: u64,
}

/// What one call of [`Store::retain`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// Publications forgotten.
    pub removed: u64,
    /// Every channel of the namespace has been visited since the walk began; the next call begins another.
    pub complete: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the checkpoint is {found}, not {expected}: another owner has written")]
    CheckpointMoved { expected: Checkpoint, found: Checkpoint },
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}
