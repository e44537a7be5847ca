//! Error codes of replies: one total table from code to name, retry advice and HTTP status.

use std::fmt;

/// What went wrong with one request; the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The message is not of the protocol.
    BadRequest,
    /// A field holds something it must not.
    InvalidChannel,
    InvalidId,
    InvalidData,
    TooLarge,
    /// Not connected yet, or the token is not accepted.
    Unauthorized,
    TokenExpired,
    /// The token does not allow it.
    Forbidden,
    NotFound,
    UnknownNamespace,
    AlreadySubscribed,
    NotSubscribed,
    /// The namespace has not this feature (history of an ephemeral channel …).
    NotAvailable,
    RateLimited,
    TooManySubscriptions,
    ChannelFull,
    ServerFull,
    /// The log cannot take the publication now; nothing was published.
    LogUnavailable,
    /// History or presence cannot be read now.
    StoreUnavailable,
    /// No answer in time: the publication may or may not have happened; retry with the same id.
    Timeout,
    Draining,
    Internal,
}

/// When the same request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It would fail again.
    Never,
    /// After `retry_after_ms`, or after a backoff of the client's choice.
    Later,
    /// After getting a new token.
    WithNewToken,
    /// On another node.
    Elsewhere,
}

impl ErrorCode {
    /// Every code: name on the wire, number in the binary encoding, retry advice, HTTP status.
    pub const TABLE: &'static [(Self, &'static str, u8, Retry, u16)] = &[
        (Self::BadRequest, "bad_request", 1, Retry::Never, 400),
        (Self::InvalidChannel, "invalid_channel", 2, Retry::Never, 400),
        (Self::InvalidId, "invalid_id", 3, Retry::Never, 400),
        (Self::InvalidData, "invalid_data", 4, Retry::Never, 400),
        (Self::TooLarge, "too_large", 5, Retry::Never, 413),
        (Self::Unauthorized, "unauthorized", 10, Retry::WithNewToken, 401),
        (Self::TokenExpired, "token_expired", 11, Retry::WithNewToken, 401),
        (Self::Forbidden, "forbidden", 12, Retry::Never, 403),
        (Self::NotFound, "not_found", 20, Retry::Never, 404),
        (Self::UnknownNamespace, "unknown_namespace", 21, Retry::Never, 404),
        (Self::AlreadySubscribed, "already_subscribed", 22, Retry::Never, 409),
        (Self::NotSubscribed, "not_subscribed", 23, Retry::Never, 409),
        (Self::NotAvailable, "not_available", 24, Retry::Never, 400),
        (Self::RateLimited, "rate_limited", 30, Retry::Later, 429),
        (Self::TooManySubscriptions, "too_many_subscriptions", 31, Retry::Never, 429),
        (Self::ChannelFull, "channel_full", 32, Retry::Later, 429),
        (Self::ServerFull, "server_full", 33, Retry::Elsewhere, 503),
        (Self::LogUnavailable, "log_unavailable", 40, Retry::Later, 503),
        (Self::StoreUnavailable, "store_unavailable", 41, Retry::Later, 503),
        (Self::Timeout, "timeout", 42, Retry::Later, 504),
        (Self::Draining, "draining", 43, Retry::Elsewhere, 503),
        (Self::Internal, "internal", 50, Retry::Later, 500),
    ];

    fn row(self) -> &'static (Self, &'static str, u8, Retry, u16) {
        // Invariant: TABLE holds every variant; a test checks it against an exhaustive match.
        Self::TABLE.iter().find(|row| row.0 == self).unwrap_or(&Self::TABLE[Self::TABLE.len() - 1])
    }

    /// Name in JSON, e.g. `rate_limited`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Number in the binary encoding.
    pub fn number(self) -> u8 {
        self.row().2
    }

    pub fn retry(self) -> Retry {
        self.row().3
    }

    pub fn http_status(self) -> u16 {
        self.row().4
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    pub fn from_number(number: u8) -> Option<Self> {
        Self::TABLE.iter().find(|row| row.2 == number).map(|row| row.0)
    }
}

/// An error as it travels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct WireError {
    pub code: ErrorCode,
    /// For people; names the offending field or limit. Never parsed.
    pub message: String,
    pub retry_after_ms: Option<u64>,
}

impl WireError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None }
    }

    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}
