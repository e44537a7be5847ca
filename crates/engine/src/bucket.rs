//! Token bucket: `burst` at once, then a steady rate. Time is passed in; the rate is passed in too, so that a million
//! buckets share one configuration.

use crate::time::Millis;

/// One token, in the bucket's unit: a rate of `n` per minute gains exactly `n` units a millisecond.
const TOKEN: u64 = 60_000;

/// How fast a bucket fills and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub burst: u32,
    pub per_minute: u32,
}

impl Rate {
    pub const fn per_second(per_second: u32, burst: u32) -> Self {
        Self { burst, per_minute: per_second.saturating_mul(60) }
    }

    pub const fn per_minute(per_minute: u32, burst: u32) -> Self {
        Self { burst, per_minute }
    }
}

#[derive(Debug, Clone)]
pub struct TokenBucket {
    level: u64,
    at: Millis,
}

impl TokenBucket {
    /// A full bucket.
    pub fn full(now: Millis, rate: Rate) -> Self {
        Self { level: u64::from(rate.burst) * TOKEN, at: now }
    }

    /// Takes `cost` tokens, or says after how many milliseconds there will be enough (`u64::MAX`: never, because the cost
    /// exceeds the burst or the rate is zero). A clock that goes back gains nothing.
    pub fn take(&mut self, now: Millis, rate: Rate, cost: u32) -> Result<(), Millis> {
        let capacity = u64::from(rate.burst) * TOKEN;
        let gained = now.saturating_sub(self.at).saturating_mul(u64::from(rate.per_minute));
        self.level = self.level.saturating_add(gained).min(capacity);
        self.at = self.at.max(now);
        let cost = u64::from(cost) * TOKEN;
        if let Some(left) = self.level.checked_sub(cost) {
            self.level = left;
            return Ok(());
        }
        if cost > capacity || rate.per_minute == 0 {
            return Err(Millis::MAX);
        }
        Err((cost - self.level).div_ceil(u64::from(rate.per_minute)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_waits_exactly_as_long_as_told() {
        let rate = Rate::per_second(10, 3);
        let mut bucket = TokenBucket::full(0, rate);
        for _ in 0..3 {
            assert_eq!(bucket.take(0, rate, 1), Ok(()));
        }
        assert_eq!(bucket.take(0, rate, 1), Err(100));
        assert_eq!(bucket.take(99, rate, 1), Err(1));
        assert_eq!(bucket.take(100, rate, 1), Ok(()));
    }

    #[test]
    fn what_can_never_be_granted_says_so() {
        let rate = Rate::per_minute(30, 2);
        assert_eq!(TokenBucket::full(0, rate).take(0, rate, 3), Err(Millis::MAX));
        let none = Rate::per_second(0, 0);
        assert_eq!(TokenBucket::full(0, none).take(9, none, 1), Err(Millis::MAX));
    }

    proptest! {
        #[test]
        fn never_grants_more_than_burst_plus_rate(
            burst in 1u32..50,
            per_minute in 1u32..6_000,
            steps in prop::collection::vec(0u64..500, 1..200),
        ) {
            let rate = Rate { burst, per_minute };
            let mut bucket = TokenBucket::full(0, rate);
            let (mut now, mut granted) = (0, 0u64);
            for step in steps {
                now += step;
                if bucket.take(now, rate, 1).is_ok() {
                    granted += 1;
                }
                prop_assert!(granted * TOKEN <= u64::from(burst) * TOKEN + now * u64::from(per_minute));
            }
        }

        #[test]
        fn waiting_as_told_is_enough(burst in 1u32..20, per_minute in 1u32..6_000, cost in 1u32..20) {
            prop_assume!(cost <= burst);
            let rate = Rate { burst, per_minute };
            let mut bucket = TokenBucket::full(0, rate);
            let mut now = 0;
            for _ in 0..50 {
                if let Err(wait) = bucket.take(now, rate, cost) {
                    now += wait;
                    prop_assert!(bucket.take(now, rate, cost).is_ok());
                }
            }
        }
    }
}
