//! How long to wait before trying again: exponential backoff with full jitter.
//!
//! The wait before attempt *n* is a random time between nothing and `min(most, first · 2ⁿ)`, so that clients who lost
//! the same server do not come back together (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
//! A time the server asked for is a lower bound; the jitter comes on top.

use std::time::Duration;

/// Bounds of the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first wait; doubles with every failed attempt.
    pub first: Duration,
    /// Upper bound of every wait.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), most: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// Milliseconds to wait before attempt `attempt` (0: the first one after a loss). `random` lies in `0.0 .. 1.0`.
    pub(crate) fn wait_ms(&self, attempt: u32, server_asks_ms: Option<u64>, random: f64) -> u64 {
        let first = self.first.as_millis() as u64;
        let most = self.most.as_millis() as u64;
        let bound = first.saturating_mul(1u64.checked_shl(attempt.min(40)).unwrap_or(u64::MAX)).min(most);
        let jitter = (bound as f64 * random.clamp(0.0, 1.0)) as u64;
        server_asks_ms.unwrap_or(0).saturating_add(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_most() {
        let backoff = Backoff::default();
        let bounds: Vec<u64> = (0..8).map(|attempt| backoff.wait_ms(attempt, None, 1.0)).collect();
        assert_eq!(bounds, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(backoff.wait_ms(u32::MAX, None, 1.0), 30_000);
        assert_eq!(backoff.wait_ms(3, None, 0.0), 0);
    }

    #[test]
    fn what_the_server_asks_is_a_lower_bound() {
        let backoff = Backoff::default();
        assert_eq!(backoff.wait_ms(0, Some(5_000), 0.0), 5_000);
        assert_eq!(backoff.wait_ms(0, Some(5_000), 0.5), 5_500);
    }
}
