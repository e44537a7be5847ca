//! The log: durable, ordered per partition. What it has acknowledged is the truth; everything else can be rebuilt.

use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

/// A partition's number, `0 .. Log::partitions()`.
pub type Partition = u32;
/// Dense position of a record in its partition, from 0.
pub type LogPosition = u64;

/// An append-only, partitioned log.
///
/// Contract:
/// - *Durability*: when [`Log::append`] returns `Ok`, the record survives `kill -9` and power loss of this process (and of
///   a minority of replicas where there are any).
/// - *Atomicity*: a record is in the log whole or not at all. After `Unavailable` it is *unknown* whether the record was
///   or will be kept; after `Full`, `Refused` and `TooLarge` it certainly was not.
/// - *Ordering*: positions are dense and appends of one caller that were started one after the other (each first polled
///   before the next one) stand in that order. Readers see records in position order, never a hole, never one that is
///   not yet durable.
/// - Several readers of a partition are independent, and none slows an append.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// How many partitions there are; fixed for the life of a cell.
    fn partitions(&self) -> u32;

    /// Appends a record of at most [`Log::record_bytes`] and waits until it is durable.
    async fn append(&self, partition: Partition, key: Bytes, value: Bytes) -> Result<LogPosition, LogError>;

    /// Largest value `append` takes, in bytes.
    fn record_bytes(&self) -> usize;

    /// For a log that gathers appends: a few of them that are handed over before this time are not begun before it, as far
    /// as the log can tell now, so a caller may wait until then and hand them over together. A commit that ends may bring
    /// it forward: ask again when an append has completed. `None`: every append is begun at once.
    fn next_begin(&self) -> Option<Instant> {
        None
    }

    /// First kept position and the one the next record will get.
    async fn bounds(&self, partition: Partition) -> Result<(LogPosition, LogPosition), LogError>;

    /// Reads from `from` on, and then waits for what is appended. `Trimmed` if `from` is no longer kept.
    async fn read(&self, partition: Partition, from: LogPosition) -> Result<Box<dyn LogReader>, LogError>;

    /// Allows everything before `before` to be forgotten.
    async fn trim(&self, partition: Partition, before: LogPosition) -> Result<(), LogError>;

    /// Takes part in sharing the partitions among the members of `group`. Two members may for a moment both believe that
    /// they own a partition; nothing may depend on it being otherwise.
    async fn join(&self, group: &str) -> Result<Box<dyn Assignments>, LogError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub position: LogPosition,
    pub value: Bytes,
}

#[async_trait]
pub trait LogReader: Send {
    /// The next records, at least one and at most `max`; waits when there are none. Cancel-safe.
    async fn next(&mut self, max: usize) -> Result<Vec<LogEntry>, LogError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    Assigned(Partition),
    Revoked(Partition),
}

#[async_trait]
pub trait Assignments: Send {
    /// The next change of what this member owns. Cancel-safe. Asking for the next change says that the one before has been
    /// followed: a revoked partition is no longer worked on.
    async fn next(&mut self) -> Result<Assignment, LogError>;

    /// Whether the group has told this member its share since it joined. The share may be nothing, of which [`Self::next`]
    /// does not speak.
    fn is_settled(&self) -> bool {
        true
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Certainly not appended; room may come back.
    #[error("the log has no room: {0}")]
    Full(String),
    #[error("a record has at most {limit} bytes; this one has {got}")]
    TooLarge { limit: usize, got: usize },
    /// Certainly not appended: the log takes none at present, and says so without waiting.
    #[error("the log takes no appends at present: {0}")]
    Refused(String),
    /// For an append: unknown. Retry with the same message id.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
    #[error("position {asked} is no longer kept; the first is {first}")]
    Trimmed { asked: LogPosition, first: LogPosition },
    #[error("there is no partition {0}")]
    NoPartition(Partition),
}
