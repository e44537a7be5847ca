//! What a region shares for seconds to hours. Losing it costs latency or precision, never a message.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// Notices a feed holds at most; the oldest make room.
pub const FEED_NOTICES: usize = 50_000;
/// Notices that one read gives at most.
pub const FEED_PAGE: usize = 1_000;
/// Bytes of a value that is kept, at most.
pub const KEPT_BYTES: usize = 1024 * 1024;

/// Expiring shared state.
///
/// Contract:
/// - Every operation is atomic by itself; none spans two keys.
/// - Entries may vanish at any time (a flushed server); callers rebuild what they own and fail open or closed as their
///   documentation says.
/// - `Unavailable` says nothing about whether the operation took place; all operations may be repeated.
/// - No clock of a caller counts: times are those of the state's own server.
/// - A key is any text; buckets, remembered keys, kept values and feeds of one name do not meet.
#[async_trait]
pub trait SharedState: Send + Sync + 'static {
    /// Takes `cost` tokens from the bucket `key`, which holds at most `burst` and gains `per_second`.
    async fn take_tokens(
        &self,
        key: &str,
        cost: u32,
        burst: u32,
        per_second: f64,
    ) -> Result<TokenGrant, StateError>;

    /// Takes as many whole tokens as the bucket `key` holds, at most `most`: for those who pass them on themselves. What is
    /// not used is not given back.
    async fn borrow_tokens(
        &self,
        key: &str,
        most: u32,
        burst: u32,
        per_second: f64,
    ) -> Result<TokenLoan, StateError>;

    /// Remembers `key` for `lifetime` (revocations, sessions); a second call renews it.
    async fn remember(&self, key: &str, lifetime: Duration) -> Result<(), StateError>;

    async fn is_remembered(&self, key: &str) -> Result<bool, StateError>;

    async fn forget(&self, key: &str) -> Result<(), StateError>;

    /// Keeps a value of at most [`KEPT_BYTES`] for at most `lifetime`, in place of the one before. For what can be had elsewhere
    /// and is nearer here.
    async fn keep(&self, key: &str, value: Bytes, lifetime: Duration) -> Result<(), StateError>;

    /// A value that was kept.
    async fn kept(&self, key: &str) -> Result<Option<Bytes>, StateError>;

    /// Adds a notice to a feed, behind all that are there. It is kept for `lifetime` at least, unless [`FEED_NOTICES`]
    /// newer ones come; a feed's notices go in the order in which they came.
    async fn append_notice(&self, feed: &str, notice: Bytes, lifetime: Duration) -> Result<(), StateError>;

    /// The notices behind `after`, oldest first, at most [`FEED_PAGE`]. Reading on from [`Notices::position`] finds every
    /// notice once, or says that some were [`missed`](Notices::missed).
    async fn read_notices(&self, feed: &str, after: FeedPosition) -> Result<Notices, StateError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenGrant {
    Granted,
    /// Not taken; as many tokens are there after this time at the earliest.
    Wait(Duration),
}

/// What [`SharedState::borrow_tokens`] gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLoan {
    pub tokens: u32,
    /// When fewer than asked for: time until there is another one. Zero otherwise.
    pub wait: Duration,
}

/// Where a reader stands in a feed. The default is the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedPosition {
    /// Which life of the feed: a feed that was lost (a flushed server) begins another one. 0: none was seen yet.
    pub generation: u64,
    /// Number of the last notice read.
    pub sequence: u64,
}

/// What [`SharedState::read_notices`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notices {
    pub notices: Vec<Notice>,
    /// Where to read on.
    pub position: FeedPosition,
    /// There have been notices behind `after` that nobody can read any more: the feed was lost, or dropped them. Never said
    /// to one who begins.
    pub missed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub payload: Bytes,
    /// Time since it was added.
    pub age: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("the shared state is unavailable: {0}")]
    Unavailable(String),
}
