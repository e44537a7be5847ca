//! What a region shares for seconds to hours. Losing it costs latency or precision, never a message.

use std::time::Duration;

use async_trait::async_trait;

/// Expiring shared state.
///
/// Contract:
/// - Every operation is atomic by itself; none spans two keys.
/// - Entries may vanish at any time (a flushed server); callers rebuild what they own and fail open or closed as their
///   documentation says.
/// - `Unavailable` says nothing about whether the operation took place; all operations may be repeated.
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

    /// Remembers `key` for `lifetime` (revocations, sessions); a second call renews it.
    async fn remember(&self, key: &str, lifetime: Duration) -> Result<(), StateError>;

    async fn is_remembered(&self, key: &str) -> Result<bool, StateError>;

    async fn forget(&self, key: &str) -> Result<(), StateError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenGrant {
    Granted,
    /// Not taken; as many tokens are there after this time at the earliest.
    Wait(Duration),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("the shared state is unavailable: {0}")]
    Unavailable(String),
}
