//! The circuit breaker of one partition.
//!
//! Appends that wait without any being acknowledged are the probe: while they wait, no more are taken. After appends have
//! failed, one alone is let through. So at any time few records are in doubt, and what is refused was certainly not sent.
//! It opens and closes by what is seen on the way: there is no timer and no state beyond these numbers.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Milliseconds since the log was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }
}

#[derive(Debug, Default)]
pub(crate) struct Gate {
    waiting: AtomicU32,
    /// When an append was last acknowledged, or began to wait with no other waiting.
    progress: AtomicU64,
    /// Appends have failed, and none was acknowledged since.
    failed: AtomicBool,
    /// Said to be shut.
    shut: AtomicBool,
}

impl Gate {
    /// A gate that begins with a probe.
    pub(crate) fn doubtful() -> Self {
        Self { failed: AtomicBool::new(true), shut: AtomicBool::new(true), ..Self::default() }
    }

    /// Lets an append through, or not. Every one let through must be followed by one of `acknowledged`, `failed` and
    /// `withdrawn`.
    pub(crate) fn enter(&self, now: u64, stall: Duration) -> bool {
        if self.is_shut(now, stall) {
            return false;
        }
        if self.waiting.load(Ordering::Relaxed) == 0 {
            self.progress.store(now, Ordering::Relaxed);
        }
        // Whoever sees this one waiting also sees since when.
        self.waiting.fetch_add(1, Ordering::Release);
        true
    }

    pub(crate) fn is_shut(&self, now: u64, stall: Duration) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
            && (self.failed.load(Ordering::Relaxed) || self.has_waited(now, stall))
    }

    /// Whether appends have waited for `time` without progress.
    pub(crate) fn has_waited(&self, now: u64, time: Duration) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
            && u128::from(now.saturating_sub(self.progress.load(Ordering::Relaxed))) >= time.as_millis()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub(crate) fn acknowledged(&self, now: u64) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.progress.store(now, Ordering::Relaxed);
        // Mostly false already: reading is cheaper than writing what others read.
        if self.failed.load(Ordering::Relaxed) {
            self.failed.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn failed(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// It was let through and then not sent after all.
    pub(crate) fn withdrawn(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Remembers whether the gate is said to be shut; whether that is news.
    pub(crate) fn say(&self, shut: bool) -> bool {
        self.shut.load(Ordering::Relaxed) != shut && self.shut.swap(shut, Ordering::Relaxed) != shut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_millis(100);

    #[test]
    fn while_appends_are_acknowledged_it_is_open() {
        let gate = Gate::default();
        for now in 0..1_000 {
            assert!(gate.enter(now, STALL));
            assert!(gate.enter(now, STALL));
            gate.acknowledged(now + 1);
            gate.acknowledged(now + 1);
        }
        assert!(gate.enter(5_000, STALL), "a pause is no stall");
    }

    #[test]
    fn appends_that_wait_too_long_shut_it_until_one_is_acknowledged() {
        let gate = Gate::default();
        assert!(gate.enter(0, STALL) && gate.enter(99, STALL));
        assert!(!gate.enter(100, STALL));
        gate.acknowledged(150);
        assert!(gate.enter(150, STALL), "the other one still waits, but there is progress");
    }

    #[test]
    fn after_a_failure_one_probe_is_let_through_at_a_time() {
        let gate = Gate::default();
        assert!(gate.enter(0, STALL));
        gate.failed();
        assert!(gate.enter(1, STALL));
        assert!(!gate.enter(1, STALL));
        gate.failed();
        assert!(gate.enter(2, STALL) && !gate.enter(2, STALL));
        gate.acknowledged(3);
        assert!(gate.enter(3, STALL) && gate.enter(3, STALL));
    }

    #[test]
    fn a_doubtful_one_begins_with_a_probe() {
        let gate = Gate::doubtful();
        assert!(gate.enter(0, STALL) && !gate.enter(0, STALL));
        gate.withdrawn();
        assert!(gate.enter(0, STALL));
    }

    #[test]
    fn news_are_told_once() {
        let gate = Gate::default();
        assert!(gate.say(true) && !gate.say(true) && gate.say(false) && !gate.say(false));
    }
}
