//! Which requests to core are sent once more while nothing has answered: the bus may have lost the answer, or a read.
//!
//! Only what may arrive twice: reads, and publishes with a message id, which are one publication however often they come.
//! Bounded by a budget that grows with the answers: a slow core must not get its load doubled. Beyond it a request just waits
//! for its answer or its timeout.

use std::collections::VecDeque;

use skywave_engine::time::Millis;

/// Time without an answer after which a request is sent once more, and once more …
const EVERY_MS: Millis = 1_000;
/// Answers that pay for one request more.
const ANSWERS: u32 = 8;
/// Requests more that may be saved up.
const SAVED: u32 = 256;

#[derive(Debug)]
pub(super) struct Repeats {
    /// In eighths of a request.
    budget: u32,
    /// In the order of their times, answered ones included until they come up.
    due: VecDeque<(Millis, u64)>,
}

impl Repeats {
    pub(super) fn new() -> Self {
        Self { budget: SAVED * ANSWERS, due: VecDeque::new() }
    }

    /// A request that may be repeated goes out, or went out again.
    pub(super) fn sent(&mut self, now: Millis, number: u64) {
        self.due.push_back((now + EVERY_MS, number));
    }

    /// A request was answered.
    pub(super) fn answered(&mut self) {
        self.budget = (self.budget + 1).min(SAVED * ANSWERS);
    }

    /// The number of a request whose time has come, once.
    pub(super) fn next_due(&mut self, now: Millis) -> Option<u64> {
        let (_, number) = self.due.pop_front_if(|(due, _)| *due <= now)?;
        Some(number)
    }

    /// Whether there is budget for one request more; then it is used.
    pub(super) fn may_repeat(&mut self) -> bool {
        let may = self.budget >= ANSWERS;
        self.budget -= if may { ANSWERS } else { 0 };
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_due_a_second_after_it_went_out() {
        let mut repeats = Repeats::new();
        repeats.sent(0, 1);
        repeats.sent(500, 2);
        assert_eq!(repeats.next_due(999), None);
        assert_eq!((repeats.next_due(1_000), repeats.next_due(1_000)), (Some(1), None));
        repeats.sent(1_000, 1);
        assert_eq!((repeats.next_due(2_000), repeats.next_due(2_000)), (Some(2), Some(1)));
    }

    #[test]
    fn no_more_is_sent_again_than_answers_pay_for() {
        let mut repeats = Repeats::new();
        assert_eq!((0..2 * SAVED).filter(|_| repeats.may_repeat()).count(), SAVED as usize);
        (0..3 * ANSWERS).for_each(|_| repeats.answered());
        assert_eq!((0..10).filter(|_| repeats.may_repeat()).count(), 3);
    }
}
