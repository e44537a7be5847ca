//! The appends of one partition that wait while others of it are under way.
//!
//! An idempotent producer of the client library has one request of a partition under way (more only while they hold fewer than
//! five records), and while further records of that partition are ready it goes round its loop until the answer is there: with
//! a few thousand appends a second that was half of a core's processor time. So the library is given nothing it could not send.
//! An append goes to it at once while none of its partition is under way; the others wait here and go together when the last
//! answer is there. What waits for company waits for a request under way, never for the clock.
//!
//! Source of the library's behaviour: `rd_kafka_toppar_producer_serve` and `rd_kafka_msgq_allow_wakeup_at` of librdkafka 2.12.
//!
//! Never: changes the order of appends; knows what an append is.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Appends in their order: under way first, waiting behind them.
#[derive(Debug)]
pub(super) struct Lane<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    under_way: usize,
    waiting: VecDeque<T>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self(Mutex::new(State { under_way: 0, waiting: VecDeque::new() }))
    }
}

impl<T> Lane<T> {
    /// Sends it now if none is under way, else it waits.
    ///
    /// `send` is called with the lane held, so that order is that of the calls; its error is that of the append, which is not
    /// under way then.
    pub(super) fn enter<E>(&self, append: T, send: impl FnOnce(T) -> Result<(), E>) -> Result<(), E> {
        let mut state = self.0.lock();
        if state.under_way > 0 {
            state.waiting.push_back(append);
            return Ok(());
        }
        debug_assert!(state.waiting.is_empty(), "what waits is sent with the last answer");
        send(append)?;
        state.under_way = 1;
        Ok(())
    }

    /// One that was under way is answered. If it was the last one, `send` takes from those that wait what goes together, and says
    /// how many it has sent: none only if none is left.
    pub(super) fn answered(&self, send: impl FnOnce(&mut VecDeque<T>) -> usize) {
        let mut state = self.0.lock();
        debug_assert!(state.under_way > 0, "an answer without a question");
        state.under_way -= 1;
        if state.under_way == 0 && !state.waiting.is_empty() {
            state.under_way = send(&mut state.waiting);
            debug_assert!(state.under_way > 0 || state.waiting.is_empty(), "nobody would send what waits");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A lane of numbers, and what was sent.
    #[derive(Default)]
    struct Road {
        lane: Lane<u32>,
        sent: Vec<u32>,
    }

    impl Road {
        fn enter(&mut self, append: u32) {
            let send = |append| {
                self.sent.push(append);
                Ok::<_, Infallible>(())
            };
            self.lane.enter(append, send).unwrap();
        }

        /// At most `together` are sent with one answer.
        fn answered(&mut self, together: usize) {
            self.lane.answered(|waiting| {
                let together = together.min(waiting.len());
                self.sent.extend(waiting.drain(..together));
                together
            });
        }
    }

    #[test]
    fn one_goes_at_once_and_the_others_together_behind_it() {
        let mut road = Road::default();
        (1..=4).for_each(|append| road.enter(append));
        assert_eq!(road.sent, [1]);
        road.answered(10);
        assert_eq!(road.sent, [1, 2, 3, 4]);
        road.enter(5);
        road.answered(10);
        road.answered(10);
        assert_eq!(road.sent, [1, 2, 3, 4], "three are under way until the third answer");
        road.answered(10);
        assert_eq!(road.sent, [1, 2, 3, 4, 5]);
        road.answered(10);
        road.enter(6);
        assert_eq!(road.sent.last(), Some(&6), "nothing is under way any more");
    }

    #[test]
    fn what_does_not_go_with_one_request_goes_with_the_next() {
        let mut road = Road::default();
        (1..=6).for_each(|append| road.enter(append));
        road.answered(2);
        assert_eq!(road.sent, [1, 2, 3]);
        (0..2).for_each(|_| road.answered(2));
        assert_eq!(road.sent, [1, 2, 3, 4, 5]);
        (0..2).for_each(|_| road.answered(2));
        assert_eq!(road.sent, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn one_that_is_not_sent_holds_up_nobody() {
        let mut road = Road::default();
        assert_eq!(road.lane.enter(1, |_| Err("refused")), Err("refused"));
        road.enter(2);
        (3..=4).for_each(|append| road.enter(append));
        // Both are refused.
        road.lane.answered(|waiting| {
            waiting.clear();
            0
        });
        road.enter(5);
        assert_eq!(road.sent, [2, 5]);
    }
}
