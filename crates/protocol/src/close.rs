//! Close codes: one total table from code to reason text and reconnect advice.
//!
//! 1000–1015 are RFC 6455's; 4000–4999 are ours (the range that RFC leaves to applications): 40xx say "come back",
//! 45xx say "do not come back with the same request". WebTransport uses the same numbers as session error codes.

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    Normal,
    ProtocolError,
    UnsupportedData,
    InvalidUtf8,
    TooLarge,
    InternalError,
    /// The node is leaving: connect elsewhere.
    Drain,
    /// The client did not read fast enough; recover from the last position.
    Slow,
    /// No answer to the ping.
    PingTimeout,
    ServerFull,
    /// Too many messages, connections or handshakes.
    RateLimited,
    TokenExpired,
    Unauthorized,
    /// The user or token was revoked or disconnected by a backend.
    Revoked,
    Forbidden,
    /// No `connect` in time, or something else before it.
    ConnectRequired,
}

/// What a client does after the close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnect {
    /// With backoff and jitter, recovering from the last position.
    Resume,
    /// The same, to another node if there is one.
    Elsewhere,
    /// After getting a new token.
    WithNewToken,
    /// Not at all.
    No,
}

impl CloseCode {
    /// Every code: number, reason text, advice.
    pub const TABLE: &'static [(Self, u16, &'static str, Reconnect)] = &[
        (Self::Normal, 1000, "bye", Reconnect::No),
        (Self::ProtocolError, 1002, "protocol error", Reconnect::No),
        (Self::UnsupportedData, 1003, "unsupported data", Reconnect::No),
        (Self::InvalidUtf8, 1007, "invalid UTF-8", Reconnect::No),
        (Self::TooLarge, 1009, "message too large", Reconnect::No),
        (Self::InternalError, 1011, "internal error", Reconnect::Resume),
        (Self::Drain, 4000, "node is draining", Reconnect::Elsewhere),
        (Self::Slow, 4001, "client too slow", Reconnect::Resume),
        (Self::PingTimeout, 4002, "ping timeout", Reconnect::Resume),
        (Self::ServerFull, 4003, "server full", Reconnect::Elsewhere),
        (Self::RateLimited, 4004, "rate limited", Reconnect::Resume),
        (Self::TokenExpired, 4010, "token expired", Reconnect::WithNewToken),
        (Self::Unauthorized, 4500, "unauthorized", Reconnect::No),
        (Self::Revoked, 4501, "revoked", Reconnect::No),
        (Self::Forbidden, 4502, "forbidden", Reconnect::No),
        (Self::ConnectRequired, 4503, "connect required", Reconnect::No),
    ];

    fn row(self) -> &'static (Self, u16, &'static str, Reconnect) {
        // Invariant: TABLE holds every variant; a test checks it against an exhaustive match.
        Self::TABLE.iter().find(|row| row.0 == self).unwrap_or(&Self::TABLE[5])
    }

    pub fn number(self) -> u16 {
        self.row().1
    }

    pub fn reason(self) -> &'static str {
        self.row().2
    }

    pub fn reconnect(self) -> Reconnect {
        self.row().3
    }

    pub fn from_number(number: u16) -> Option<Self> {
        Self::TABLE.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    /// As a client meets a number: one of a newer version is taken for a known one with the advice of its range.
    pub fn from_wire(number: u16) -> Self {
        let unknown = if (4500..5000).contains(&number) { Self::Forbidden } else { Self::InternalError };
        Self::from_number(number).unwrap_or(unknown)
    }
}
