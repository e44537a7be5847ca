//! A coarse timer wheel: which connections want attention in which tick. One ticker a worker, no timer per connection.
//!
//! Entries are hints: a connection whose deadline moved away is looked at early and put back; one whose deadline moved
//! nearer is entered again, and its older entry is passed over when it comes up. Never: decides anything.

/// Milliseconds between two ticks: deadlines are met this much late at worst.
pub(crate) const TICK_MS: u64 = 250;
/// Ticks in the wheel; deadlines farther away go round.
const SLOTS: u64 = 256;

/// Keys by the tick in which they are due.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<u64>>,
    /// The next tick to be looked at.
    tick: u64,
}

impl Wheel {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), tick: now_ms / TICK_MS }
    }

    /// Notes that `key` wants to be looked at from `due_ms` on (or one round of the wheel from now, if that is sooner).
    /// Answers when it will be, in milliseconds: an entry that comes up at another time has been replaced since.
    pub(crate) fn schedule(&mut self, key: u64, due_ms: u64) -> u64 {
        let tick = due_ms.div_ceil(TICK_MS).clamp(self.tick, self.tick + SLOTS - 1);
        self.slots[(tick % SLOTS) as usize].push(key);
        tick * TICK_MS
    }

    /// Moves every key whose tick has come into `due`.
    pub(crate) fn advance(&mut self, now_ms: u64, due: &mut Vec<u64>) {
        let until = now_ms / TICK_MS;
        let mut turns = 0;
        while self.tick <= until && turns < SLOTS {
            due.append(&mut self.slots[(self.tick % SLOTS) as usize]);
            self.tick += 1;
            turns += 1;
        }
        // After a long stop everything has been looked at once; no need to turn the empty wheel on.
        self.tick = self.tick.max(until + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advance(wheel: &mut Wheel, now: u64) -> Vec<u64> {
        let mut due = Vec::new();
        wheel.advance(now, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn keys_come_at_their_tick_and_once() {
        let mut wheel = Wheel::new(10_000);
        assert_eq!(wheel.schedule(1, 10_400), 10_500);
        assert_eq!(wheel.schedule(2, 11_000), 11_000);
        wheel.schedule(3, 9_000);
        assert_eq!(advance(&mut wheel, 10_100), [3], "what is overdue comes with the next tick");
        assert_eq!(advance(&mut wheel, 10_400), [] as [u64; 0]);
        assert_eq!(advance(&mut wheel, 10_500), [1]);
        assert_eq!(advance(&mut wheel, 20_000), [2]);
        assert_eq!(advance(&mut wheel, 20_001), [] as [u64; 0]);
    }

    #[test]
    fn far_deadlines_are_looked_at_within_one_round_and_a_pause_loses_none() {
        let mut wheel = Wheel::new(0);
        assert_eq!(wheel.schedule(7, 10_000_000), (SLOTS - 1) * TICK_MS);
        wheel.schedule(8, 1_000);
        assert_eq!(advance(&mut wheel, 1_000_000_000), [7, 8]);
        wheel.schedule(9, 1_000_000_500);
        assert_eq!(advance(&mut wheel, 1_000_000_500), [9]);
    }
}
