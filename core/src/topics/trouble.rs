//! Why nothing is being published from the topics at present: said once in the log, and to whoever asks.

use std::fmt::Display;

use parking_lot::Mutex;

#[derive(Default)]
pub(super) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    pub(super) fn met(&self, problem: &dyn Display) {
        let problem = problem.to_string();
        let mut now = self.0.lock();
        if now.is_none() {
            tracing::warn!(%problem, "the topics of backends have to wait; trying on");
        }
        *now = Some(problem);
    }

    pub(super) fn over(&self) {
        if self.0.lock().take().is_some() {
            tracing::info!("the topics of backends go on");
        }
    }

    pub(super) fn now(&self) -> Option<String> {
        self.0.lock().clone()
    }
}
