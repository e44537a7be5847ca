//! What an operator may tune about channels; every bound of the hub stands here.

use skywave_protocol::limits;

use crate::time::Millis;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubConfig {
    /// A channel without members stays live for this long, so that a page reload costs nothing.
    pub linger_ms: Millis,
    /// Recent publications kept per durable channel; the oldest go first.
    pub ring_publications: usize,
    /// Payload bytes these may take together.
    pub ring_bytes: usize,
    /// A recovery reads this many publications more than asked for, so that clients a little further behind, arriving a
    /// moment later, are served from the ring.
    pub recovery_margin: u32,
    /// Publications asked for in one history read.
    pub page: u32,
    /// A page is kept for so long for those who ask for the same a moment later.
    pub page_keep_ms: Millis,
    /// Payload bytes of the pages that all channels of the hub keep together. When full, a page is given to those who have
    /// asked for it, and not kept.
    pub pages_bytes: usize,
    /// Publications held while a hole before them is being read. When full, newer ones are dropped and read later.
    pub pending_publications: usize,
    /// Payload bytes these may take together.
    pub pending_bytes: usize,
    /// A history read without an answer for so long has failed.
    pub fetch_timeout_ms: Millis,
    /// Failed reads (or interest requests) in a row before what they were for is given up.
    pub attempts: u32,
    /// Wait after the first failure; it doubles with every further one …
    pub backoff_min_ms: Millis,
    /// … up to this.
    pub backoff_max_ms: Millis,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            linger_ms: 10_000,
            ring_publications: 128,
            ring_bytes: 128 * 1024,
            recovery_margin: 32,
            page: limits::HISTORY_PAGE_MAX,
            page_keep_ms: 1_000,
            pages_bytes: 16 * 1024 * 1024,
            pending_publications: 1_024,
            pending_bytes: 1024 * 1024,
            fetch_timeout_ms: 3_000,
            attempts: 6,
            backoff_min_ms: 50,
            backoff_max_ms: 3_000,
        }
    }
}

impl HubConfig {
    /// Wait after `failures` failures in a row. `salt` spreads channels by up to a quarter, so that thousands do not
    /// come back in the same millisecond; it is a hash of the channel's name, not a random number.
    pub(super) fn backoff(&self, failures: u32, salt: u64) -> Millis {
        let doubled = self.backoff_min_ms.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let wait = doubled.min(self.backoff_max_ms).max(1);
        wait + salt % (wait / 4 + 1)
    }
}
