//! How often nodes speak of their members, and when silence means death.

use crate::time::Millis;

/// Who has just come to a channel waits for the others' answers, and should not have to wait long.
const EXCHANGE_MS: Millis = 100;
/// What telling of members may cost: some 100,000 a second from one node.
const MEMBERS_PER_MS: Millis = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceConfig {
    /// A node with members in a channel says so at least this often.
    pub beat_ms: Millis,
    /// A node not heard of for so long is dead. At least three beats, so that two lost ones do no harm.
    pub lease_ms: Millis,
}

impl Default for PresenceConfig {
    fn default() -> Self {
        Self { beat_ms: 10_000, lease_ms: 35_000 }
    }
}

impl PresenceConfig {
    /// Not more often than this a node asks, or answers with everything it holds.
    pub(super) fn exchange_ms(&self) -> Millis {
        (self.beat_ms / 20).clamp(1, EXCHANGE_MS)
    }

    /// The same for an answer of so many members: many of them are told less often.
    pub(super) fn answer_ms(&self, members: usize) -> Millis {
        self.exchange_ms() + members as Millis / MEMBERS_PER_MS
    }

    /// A dead node's version is remembered for so long, so that a straggler cannot raise it from the dead.
    pub(super) fn grave_ms(&self) -> Millis {
        self.lease_ms * 4
    }
}
