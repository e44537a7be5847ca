//! The transactional outbox: publications that an application has written into its own database, in the transaction that
//! made them true. A relay publishes each of them once (`core/src/outbox`).

use async_trait::async_trait;
use skywave_protocol::{Epoch, Offset, Payload};

/// Where an application leaves what is to be published.
///
/// Contract:
/// - *Turns*: at most one turn can change rows at any instant, whoever else asks. A turn that is lost (its connection
///   ended, its holder was frozen for long) fails in every call from then on, and changes nothing.
/// - *Order*: rows come in the order in which they were written, as far as their transactions did not overlap; a row is
///   seen when its transaction is committed, and not before.
/// - *Durability*: what [`OutboxTurn::mark`] and [`OutboxTurn::settle`] returned for survives `kill -9`. After
///   `Unavailable` the outcome is unknown; both may be repeated, in another turn as well.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Waits until nobody has the turn, and takes it. It ends when dropped. Cancel-safe.
    async fn turn(&self) -> Result<Box<dyn OutboxTurn>, OutboxError>;
}

#[async_trait]
pub trait OutboxTurn: Send {
    /// The oldest rows, at most `max`. Does not wait for any.
    async fn rows(&mut self, max: usize) -> Result<Vec<OutboxRow>, OutboxError>;

    /// Notes that publishing the rows is about to begin, all or none; a row that has a mark keeps it.
    async fn mark(&mut self, marks: Vec<(RowId, Mark)>) -> Result<(), OutboxError>;

    /// Removes rows, all or none; those refused are kept aside with the reason. A row that is gone is passed over.
    async fn settle(&mut self, settled: Vec<(RowId, Settlement)>) -> Result<(), OutboxError>;
}

/// Names a row; later rows have greater ones.
pub type RowId = i64;

/// A row, as it was written: nothing of it is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    pub id: RowId,
    pub channel: String,
    pub message_id: String,
    /// The user it is published for.
    pub publisher: Option<String>,
    pub data: Payload,
    /// How long it has waited, by the clock of the outbox, in milliseconds.
    pub waited_ms: u64,
    pub mark: Option<Mark>,
}

/// Publishing has begun, when the newest stored position of the channel was this one: if the row was published, then
/// behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub epoch: Epoch,
    pub after: Offset,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    Published,
    /// It can never be published; somebody has to look at it.
    Refused(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    #[error("the outbox is unavailable: {0}")]
    Unavailable(String),
}
