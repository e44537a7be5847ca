//! How the parts of a process learn that it shall end.
//!
//! - One [`ShutdownTrigger`] per process; any number of [`Shutdown`] handles, cheap to clone and to wait on.
//! - Two phases, which only go forward: *graceful* (stop taking work, drain, persist), then *immediate* (stop now).
//! - [`on_signals`] connects SIGTERM and SIGINT: the first one asks for the graceful end, the second for the immediate one.
//!
//! Never: ends the process itself, or waits for the parts.

mod signals;

use std::sync::Arc;

use tokio::sync::watch;

pub use signals::on_signals;

/// How urgently the process shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    #[default]
    Running,
    /// Take no new work, let clients move, write what must be written.
    Graceful,
    /// Stop at once; what is durable stays durable, everything else is recovered by those who come back.
    Immediate,
}

/// A handle to wait on. A process whose trigger is gone counts as told to end gracefully.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Phase>);

/// Starts the end. Cloning it gives a second hand on the same trigger.
#[derive(Debug, Clone)]
pub struct ShutdownTrigger(Arc<watch::Sender<Phase>>);

/// A trigger and a first handle.
pub fn channel() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (ShutdownTrigger(Arc::new(sender)), Shutdown(receiver))
}

impl ShutdownTrigger {
    /// Asks for the graceful end.
    pub fn graceful(&self) {
        self.advance(Phase::Graceful);
    }

    /// Asks for the immediate end.
    pub fn immediate(&self) {
        self.advance(Phase::Immediate);
    }

    /// Another handle on the same end.
    pub fn handle(&self) -> Shutdown {
        Shutdown(self.0.subscribe())
    }

    /// Phases never go back.
    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let forward = to > *phase;
            if forward {
                *phase = to;
            }
            forward
        });
    }
}

impl Shutdown {
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Whether the end was asked for, in either phase.
    pub fn is_requested(&self) -> bool {
        self.phase() > Phase::Running || self.0.has_changed().is_err()
    }

    /// Returns when the end is asked for. Cancel-safe; returns at once when it already was.
    pub async fn requested(&self) {
        self.reached(Phase::Graceful).await;
    }

    /// Returns when the *immediate* end is asked for; never when the trigger is dropped before. Cancel-safe.
    pub async fn immediate(&self) {
        if !self.reached(Phase::Immediate).await {
            std::future::pending::<()>().await;
        }
    }

    /// `false` when the trigger went away before the phase came.
    async fn reached(&self, phase: Phase) -> bool {
        let mut receiver = self.0.clone();
        receiver.wait_for(|now| *now >= phase).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_go_forward_only() {
        let (trigger, shutdown) = channel();
        assert!(!shutdown.is_requested());
        trigger.immediate();
        trigger.graceful();
        assert_eq!(shutdown.phase(), Phase::Immediate);
        shutdown.requested().await;
        shutdown.immediate().await;
    }

    #[tokio::test]
    async fn every_handle_hears_of_it_also_a_late_one() {
        let (trigger, early) = channel();
        let waiting = tokio::spawn({
            let early = early.clone();
            async move { early.requested().await }
        });
        trigger.graceful();
        waiting.await.unwrap();
        trigger.handle().requested().await;
        assert_eq!(early.phase(), Phase::Graceful);
    }

    #[tokio::test]
    async fn a_lost_trigger_is_a_graceful_end_and_no_more() {
        let (trigger, shutdown) = channel();
        drop(trigger);
        shutdown.requested().await;
        assert!(shutdown.is_requested());
        let immediate = tokio::time::timeout(std::time::Duration::from_millis(20), shutdown.immediate());
        assert!(immediate.await.is_err());
    }
}
