//! How long to wait before trying again: exponential, with full jitter, so that many who failed together do not come
//! back together.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_secs(5);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after another failure: uniform between zero and a ceiling that doubles up to [`MOST`].
    pub(crate) fn next(&mut self, random: &mut impl rand::Rng) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(random.random())
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Waits as [`Backoff::next`] says.
    pub(crate) async fn wait(&mut self) {
        let wait = self.next(&mut rand::rng());
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn waits_grow_and_stay_below_the_ceiling() {
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        let mut longest = [Duration::ZERO; 12];
        for _ in 0..200 {
            let mut backoff = Backoff::default();
            for longest in &mut longest {
                *longest = backoff.next(&mut random).max(*longest);
            }
        }
        assert!(longest[0] <= FIRST && longest[1] > FIRST, "{longest:?}");
        assert!(longest[11] <= MOST && longest[11] > MOST / 2, "{longest:?}");
    }
}
