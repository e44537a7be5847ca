//! One node's part in a rate that many nodes keep together.
//!
//! The tokens are in a bucket that all nodes share and that takes a while to reach. A node borrows them in batches, ahead of
//! need, so that nobody waits for the shared bucket; what is spent before the first loan has come is on credit, and is paid
//! back from the loans that follow. When the shared bucket has nothing, the user is told to wait; when it cannot be reached,
//! the node keeps the same rate alone.
//!
//! So one user gets, over all nodes and any time, at most what the shared bucket gives, and on each node once (while no loan
//! has been answered) at most a burst and a batch more.
//!
//! Owns: what one user may do on this node. Never: reaches for the shared bucket; [`Allowance::wanted`] says what to borrow.

use crate::bucket::{Rate, TokenBucket};
use crate::time::Millis;

/// Time between two loans of one user while the shared bucket has little: an answer is as old as this at worst.
const POOR_MS: Millis = 100;
/// How long a node goes on alone before it asks again.
const ALONE_MS: Millis = 1_000;
/// A batch is what the rate gives in this time.
const BATCH_MS: Millis = 200;

#[derive(Debug, Clone)]
pub struct Allowance {
    /// Borrowed and not spent; below zero: spent on credit.
    tokens: i64,
    /// A loan is on its way.
    asked: bool,
    means: Means,
    used_at: Millis,
}

#[derive(Debug, Clone)]
enum Means {
    /// The shared bucket gave all that was asked for, or has not been asked yet.
    Rich,
    /// It gave less. Nothing on credit; asked again from this time on.
    Poor { again_at: Millis },
    /// It cannot be reached, until this time at least.
    Alone { bucket: TokenBucket, until: Millis },
}

impl Allowance {
    pub fn new(now: Millis) -> Self {
        Self { tokens: 0, asked: false, means: Means::Rich, used_at: now }
    }

    /// Spends `cost` tokens, or says after how many milliseconds it is worth trying again (`u64::MAX`: never).
    pub fn take(&mut self, now: Millis, rate: Rate, cost: u32) -> Result<(), Millis> {
        self.used_at = now;
        if cost > rate.burst {
            return Err(Millis::MAX);
        }
        let left = self.tokens - i64::from(cost);
        match &mut self.means {
            Means::Alone { bucket, .. } => bucket.take(now, rate, cost),
            Means::Rich if left >= -i64::from(rate.burst + batch(rate)) => {
                self.tokens = left;
                Ok(())
            }
            Means::Poor { .. } if left >= 0 => {
                self.tokens = left;
                Ok(())
            }
            Means::Rich => Err(POOR_MS),
            // Once it is asked again, the answer needs a moment.
            Means::Poor { again_at } => Err(again_at.saturating_sub(now).max(POOR_MS / 10)),
        }
    }

    /// How many tokens to borrow now; to be answered with [`Allowance::lent`] or [`Allowance::unreachable`]. Asked after each
    /// [`Allowance::take`]; there is at most one loan at a time.
    pub fn wanted(&mut self, now: Millis, rate: Rate) -> Option<u32> {
        let batch = i64::from(batch(rate));
        let due = match &self.means {
            Means::Rich => self.tokens * 2 <= batch,
            Means::Poor { again_at } => self.tokens < batch && now >= *again_at,
            Means::Alone { until, .. } => now >= *until,
        };
        if self.asked || !due {
            return None;
        }
        self.asked = true;
        let debt = if matches!(self.means, Means::Alone { .. }) { 0 } else { self.tokens };
        u32::try_from((batch - debt).min(i64::from(rate.burst))).ok().filter(|tokens| *tokens > 0)
    }

    /// The shared bucket gave `tokens`. `wait_ms`: when that is less than what was wanted, the time until it has another one.
    pub fn lent(&mut self, now: Millis, tokens: u32, wait_ms: Option<Millis>) {
        self.asked = false;
        if matches!(self.means, Means::Alone { .. }) {
            // What was spent alone is nobody's debt.
            self.tokens = 0;
        }
        self.tokens += i64::from(tokens);
        self.means = match wait_ms {
            None => Means::Rich,
            Some(wait_ms) => Means::Poor { again_at: now.saturating_add(wait_ms.max(POOR_MS)) },
        };
    }

    /// The shared bucket cannot be reached: fails open, to the same rate on this node alone.
    pub fn unreachable(&mut self, now: Millis, rate: Rate) {
        self.asked = false;
        let until = now + ALONE_MS;
        match &mut self.means {
            Means::Alone { until: before, .. } => *before = until,
            _ => {
                let mut bucket = TokenBucket::full(now, rate);
                // What was spent on credit was spent on this node.
                let debt = u32::try_from(-self.tokens).unwrap_or(0).min(rate.burst);
                // Never more than a full bucket holds.
                let _ = bucket.take(now, rate, debt);
                self.means = Means::Alone { bucket, until };
            }
        }
    }

    /// Whether what is let through is this node's decision alone.
    pub fn is_alone(&self) -> bool {
        matches!(self.means, Means::Alone { .. })
    }

    /// Whether it may be forgotten: nothing is owed, and what is left would be borrowed again in a moment.
    pub fn is_idle(&self, now: Millis) -> bool {
        let rested = match &self.means {
            Means::Rich => self.tokens >= 0,
            Means::Poor { again_at } => now >= *again_at,
            Means::Alone { until, .. } => now >= *until,
        };
        rested && !self.asked && now >= self.used_at + 10 * ALONE_MS
    }
}

/// Tokens borrowed at once.
fn batch(rate: Rate) -> u32 {
    let batch = u64::from(rate.per_minute) * BATCH_MS / 60_000;
    (batch.max(1) as u32).min(rate.burst.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate::per_second(100, 200);

    #[test]
    fn nobody_waits_for_the_first_loan_and_what_was_spent_is_paid_back() {
        let mut allowance = Allowance::new(0);
        for _ in 0..50 {
            assert_eq!(allowance.take(0, RATE, 1), Ok(()));
        }
        assert_eq!(allowance.wanted(0, RATE), Some(70), "the debt, and a batch");
        assert_eq!(allowance.wanted(0, RATE), None, "one loan at a time");
        allowance.lent(1, 70, None);
        for _ in 0..9 {
            allowance.take(1, RATE, 1).unwrap();
            assert_eq!(allowance.wanted(1, RATE), None, "half a batch is left");
        }
        allowance.take(1, RATE, 1).unwrap();
        assert_eq!(allowance.wanted(1, RATE), Some(10));
    }

    #[test]
    fn an_empty_bucket_stops_this_node_too_and_is_asked_again() {
        let mut allowance = Allowance::new(0);
        allowance.take(0, RATE, 5).unwrap();
        assert!(allowance.wanted(0, RATE).is_some());
        allowance.lent(10, 3, Some(400));
        assert_eq!(allowance.take(10, RATE, 1), Err(400), "two are owed");
        assert_eq!(allowance.wanted(10, RATE), None);
        assert!(allowance.take(410, RATE, 1).is_err());
        assert_eq!(allowance.wanted(410, RATE), Some(22));
        allowance.lent(411, 22, None);
        assert_eq!(allowance.take(411, RATE, 20), Ok(()));
    }

    #[test]
    fn alone_a_node_keeps_the_rate_and_owes_the_shared_bucket_nothing_for_it() {
        let mut allowance = Allowance::new(0);
        allowance.take(0, RATE, 150).unwrap();
        allowance.wanted(0, RATE);
        allowance.unreachable(5, RATE);
        assert!(allowance.is_alone());
        assert!(allowance.take(5, RATE, 51).is_err(), "150 of 200 were spent here");
        assert_eq!(allowance.take(5, RATE, 50), Ok(()));
        assert_eq!(allowance.take(5, RATE, 1), Err(10));
        assert_eq!(allowance.wanted(900, RATE), None);
        assert_eq!(allowance.wanted(1_005, RATE), Some(20));
        allowance.unreachable(1_006, RATE);
        assert_eq!(allowance.wanted(1_006, RATE), None);
        assert!(allowance.wanted(2_006, RATE).is_some());
        allowance.lent(2_007, 20, None);
        assert!(!allowance.is_alone());
        assert_eq!(allowance.take(2_007, RATE, 20), Ok(()));
    }

    #[test]
    fn what_the_burst_can_never_hold_is_never_granted() {
        let mut allowance = Allowance::new(0);
        assert_eq!(allowance.take(0, RATE, 201), Err(Millis::MAX));
        let none = Rate::per_minute(0, 0);
        assert_eq!(allowance.take(0, none, 1), Err(Millis::MAX));
    }

    #[test]
    fn only_what_owes_nothing_is_forgotten() {
        let mut allowance = Allowance::new(0);
        allowance.take(0, RATE, 1).unwrap();
        assert!(!allowance.is_idle(60_000), "on credit");
        allowance.wanted(0, RATE);
        allowance.lent(1, 21, None);
        assert!(!allowance.is_idle(9_000) && allowance.is_idle(10_000));
    }

    /// The shared bucket, and nodes before it whose loans take a while.
    struct World {
        rate: Rate,
        shared: TokenBucket,
        nodes: Vec<(Allowance, Option<(Millis, u32)>)>,
    }

    impl World {
        fn new(rate: Rate, nodes: usize) -> Self {
            let nodes = (0..nodes).map(|_| (Allowance::new(0), None)).collect();
            Self { rate, shared: TokenBucket::full(0, rate), nodes }
        }

        /// Answers the loans that are due; one that finds too little gets what there is.
        fn settle(&mut self, now: Millis) {
            for (allowance, loan) in &mut self.nodes {
                if let Some((_, wanted)) = loan.take_if(|(due, _)| *due <= now) {
                    let lent =
                        (0..wanted).take_while(|_| self.shared.take(now, self.rate, 1).is_ok()).count();
                    let missing = self.shared.clone().take(now, self.rate, 1).err();
                    let wait = (lent < wanted as usize).then(|| missing.unwrap_or(0));
                    allowance.lent(now, lent as u32, wait);
                }
            }
        }

        fn take(&mut self, now: Millis, node: usize, delay: Millis) -> bool {
            let (allowance, loan) = &mut self.nodes[node];
            let granted = allowance.take(now, self.rate, 1).is_ok();
            if let Some(wanted) = allowance.wanted(now, self.rate) {
                *loan = Some((now + delay, wanted));
            }
            granted
        }
    }

    proptest! {
        #[test]
        fn over_all_nodes_no_more_than_the_rate_and_the_credit(
            burst in 1u32..100,
            per_minute in 1u32..30_000,
            nodes in 1usize..6,
            steps in prop::collection::vec((0u64..30, 0usize..6, 0u64..200), 1..2_000),
        ) {
            let rate = Rate { burst, per_minute };
            let mut world = World::new(rate, nodes);
            let (mut now, mut granted) = (0, 0u64);
            for (step, node, delay) in steps {
                now += step;
                world.settle(now);
                granted += u64::from(world.take(now, node % nodes, delay));
                let credit = u64::from(burst + batch(rate)) * nodes as u64;
                let earned = now * u64::from(per_minute) / 60_000;
                prop_assert!(granted <= u64::from(burst) + earned + 1 + credit, "{granted} at {now}");
            }
        }

        /// Whoever keeps a little below the rate is never refused, and his node rarely asks.
        #[test]
        fn who_keeps_the_rate_on_one_node_is_served(
            burst in 20u32..200,
            per_second in 10u32..500,
            delays in prop::collection::vec(0u64..100, 1..50),
            jitter in prop::collection::vec(0u64..20, 500),
        ) {
            let rate = Rate::per_second(per_second, burst);
            let mut world = World::new(rate, 1);
            let mut now = 0;
            for (index, jitter) in jitter.into_iter().enumerate() {
                now += 1_000 / u64::from(per_second) + 1 + jitter;
                world.settle(now);
                prop_assert!(world.take(now, 0, delays[index % delays.len()]), "at {now}");
            }
        }
    }
}
