//! Keeps callers from waiting, one timeout each, for a Redis that does not answer.
//!
//! Closed: operations go through; so many failures in a row open it. Open: everything is refused at once, until a probe
//! has succeeded. Never: waits, or probes by itself (`probe` does).

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Breaker {
    threshold: u32,
    failures: AtomicU32,
    open: AtomicBool,
    opened: AtomicU64,
    /// Told when it opens.
    tripped: Notify,
}

impl Breaker {
    pub(crate) fn closed(threshold: u32) -> Self {
        Self {
            threshold,
            failures: AtomicU32::new(0),
            open: AtomicBool::new(false),
            opened: AtomicU64::new(0),
            tripped: Notify::new(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// How often it has opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// An operation was answered. One that was under way when the breaker opened does not close it.
    pub(crate) fn succeeded(&self) {
        // Read first: most of the time there is nothing to write, and the line stays shared.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// An operation was not answered. `true`: this one has opened the breaker.
    pub(crate) fn failed(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        failures >= self.threshold && self.trip()
    }

    /// Opens it; `true` if it was closed.
    pub(crate) fn trip(&self) -> bool {
        let was_closed = !self.open.swap(true, Ordering::Relaxed);
        if was_closed {
            self.opened.fetch_add(1, Ordering::Relaxed);
            self.tripped.notify_one();
        }
        was_closed
    }

    /// A probe was answered.
    pub(crate) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Relaxed);
    }

    /// Resolves when it is open.
    pub(crate) async fn tripped(&self) {
        while !self.is_open() {
            self.tripped.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_and_only_a_probe_closes_it() {
        let breaker = Breaker::closed(3);
        assert!(!breaker.failed() && !breaker.failed());
        breaker.succeeded();
        assert!(!breaker.failed() && !breaker.failed() && !breaker.is_open());
        assert!(breaker.failed() && breaker.is_open());
        assert!(!breaker.failed(), "it opens once");
        breaker.succeeded();
        assert!(breaker.is_open(), "a straggler's answer is no proof");
        breaker.close();
        assert!(!breaker.is_open() && !breaker.failed());
        assert_eq!(breaker.opened(), 1);
    }

    #[tokio::test]
    async fn whoever_waits_for_it_to_open_is_told_even_if_it_was_before() {
        let breaker = Breaker::closed(1);
        breaker.failed();
        breaker.tripped().await;
    }
}
