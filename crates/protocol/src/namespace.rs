//! The options a channel inherits from its namespace. Field by field they are documented in `docs/configuration.md`.

use serde::{Deserialize, Serialize};

/// What happens to a publication besides fan-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Fan-out only, at most once, no offset.
    Ephemeral,
    /// Sequenced, stored, recoverable, exactly once in order.
    Durable,
}

/// What to do with a client whose outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowPolicy {
    /// Close with a resumable code; the client comes back and recovers.
    Disconnect,
    /// Drop the oldest queued ephemeral publications.
    DropOldest,
}

/// Who may use a channel when the token says nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everyone who is connected, anonymous clients included.
    Public,
    /// Every client with a valid token.
    Authenticated,
    /// Only the user whose id equals the channel's `rest` (and tokens that name the channel).
    Owner,
    /// Only tokens that name the channel.
    Token,
}

/// Options of one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamespaceOptions {
    pub durability: Durability,
    /// Members are visible; joins and leaves are pushed to subscribers.
    pub presence: bool,
    pub subscribe: Access,
    pub publish: Access,
    /// Publications kept for history and recovery, per channel (0: none are kept).
    pub history_size: u32,
    /// How long they are kept, in seconds.
    pub history_seconds: u64,
    pub slow: SlowPolicy,
    /// Largest payload of one publication, in bytes.
    pub payload_bytes: usize,
    /// Most subscribers one channel may have on a node (0: no limit).
    pub subscribers: u32,
    /// Publications go out as JSON too, for backends on NATS.
    pub live_json: bool,
}

impl Default for NamespaceOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Durable,
            presence: false,
            subscribe: Access::Public,
            publish: Access::Public,
            history_size: 10_000,
            history_seconds: 7 * 24 * 3600,
            slow: SlowPolicy::Disconnect,
            payload_bytes: 64 * 1024,
            subscribers: 0,
            live_json: false,
        }
    }
}
