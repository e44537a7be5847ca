//! What has happened on one way of a link since it was made: how a test proves that its fault took place.

use serde::{Deserialize, Serialize};

/// Monotonic counts, `waiting_bytes` aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Counters {
    /// Bytes of streams delivered.
    pub stream_bytes: u64,
    /// Segments of streams that were lost and sent again.
    pub retransmitted: u64,
    /// Times that something of a stream was due and the line was cut.
    pub held: u64,
    /// Datagrams delivered, doubles included.
    pub datagrams: u64,
    /// Bytes of payload in them.
    pub datagram_bytes: u64,
    /// Datagrams lost by chance.
    pub lost: u64,
    /// Datagrams that arrived once more.
    pub duplicated: u64,
    /// Datagrams that were too large.
    pub oversized: u64,
    /// Datagrams that came to, or were on, a line that was cut.
    pub cut_off: u64,
    /// Datagrams dropped because too much was under way, or because the receiver took no more.
    pub overflowed: u64,
    /// Times that the line was cut.
    pub cuts: u64,
    /// Bytes of streams under way at this moment.
    pub waiting_bytes: u64,
}
