//! What can go wrong for an application: one type per thing it asks for.

use skywave_protocol::WireError;

/// Why a client is closed for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClosedError {
    #[error("closed by the application")]
    Closed,
    /// The server said not to come back.
    #[error("the server refused the connection: {0}")]
    Refused(String),
    #[error("the server does not accept the token: {0}")]
    Unauthorized(String),
    /// The address cannot be used, whatever the server says.
    #[error("{0}")]
    Address(String),
}

/// Why [`Client::connect`](crate::Client::connect) gave up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}")]
    Configuration(String),
    #[error("no connection within {seconds} s: {reason}")]
    Timeout { seconds: u64, reason: String },
    #[error(transparent)]
    Closed(#[from] ClosedError),
}

/// Why a publication was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Certainly not published, and trying again would not help.
    #[error("{0}")]
    Refused(WireError),
    /// It may or may not have been published; publishing it again under the same id is safe.
    #[error("not acknowledged in time")]
    TimedOut,
    /// An ephemeral publication whose connection was lost before the answer; it is not sent twice.
    #[error("the connection was lost before the answer")]
    Lost,
    /// The outbox is full; only from `try_` calls, the others wait.
    #[error("the outbox is full")]
    OutboxFull,
    /// More bytes than the outbox can ever hold.
    #[error("{bytes} bytes do not fit into an outbox of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    /// Unknown if it had been sent, otherwise not published.
    #[error(transparent)]
    Closed(#[from] ClosedError),
}

/// Why a request (history, presence, subscribe) has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("{0}")]
    Refused(WireError),
    /// One client holds one subscription of a channel.
    #[error("already subscribed to this channel")]
    AlreadySubscribed,
    #[error(transparent)]
    Closed(#[from] ClosedError),
}
