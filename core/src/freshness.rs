//! Proof that an owner is not behind: before it answers what the newest publication of a channel is, it must have seen the
//! end of the log a moment ago.
//!
//! Sequencing is a function of the log, so whoever has read the log to its end knows the truth, whether the group still
//! counts it as owner or not. A process that was paused through a rebalance knows only an old end: its proof is too old,
//! so it asks the log and reads on before it answers.
//!
//! One question to the log at a time for each partition, shared by all reads that wait for it, and none while the last proof
//! is younger than `history_fresh_ms`.

use std::time::{Duration, Instant};

use skywave_ports::log::{LogPosition, Partition};
use skywave_ports::{Log, LogError};
use tokio::sync::{Mutex, watch};

pub(crate) struct Freshness {
    /// Position of the next record to be applied; what stands before it is in the tail or in the store.
    applied: watch::Sender<LogPosition>,
    /// When the log's end was last asked for and then reached.
    confirmed: Mutex<Instant>,
}

impl Freshness {
    /// For an owner that has applied everything before `next`, and found at `confirmed` that the log ended there.
    pub(crate) fn new(next: LogPosition, confirmed: Instant) -> Self {
        Self { applied: watch::Sender::new(next), confirmed: Mutex::new(confirmed) }
    }

    /// Everything before `next` can be found in tail or store.
    pub(crate) fn applied(&self, next: LogPosition) {
        self.applied.send_replace(next);
    }

    /// Returns when everything has been applied that was in the log at some moment at most `within` ago.
    pub(crate) async fn confirm(
        &self,
        log: &dyn Log,
        partition: Partition,
        within: Duration,
    ) -> Result<(), LogError> {
        let came = Instant::now();
        let mut confirmed = self.confirmed.lock().await;
        let asked = Instant::now();
        // Asked for after this read came, or young enough.
        if *confirmed >= came || asked.saturating_duration_since(*confirmed) < within {
            return Ok(());
        }
        let (_, end) = log.bounds(partition).await?;
        // The sending side lives as long as `self`.
        let _ = self.applied.subscribe().wait_for(|next| *next >= end).await;
        *confirmed = asked;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use skywave_ports::memory::MemoryLog;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn a_young_proof_is_enough_and_an_old_one_waits_for_the_end_of_the_log() {
        let log = MemoryLog::new(1);
        let freshness = Arc::new(Freshness::new(0, Instant::now()));
        log.append(0, Bytes::new(), Bytes::new()).await.unwrap();
        freshness.confirm(&log, 0, LONG).await.unwrap();
        let waiting = tokio::spawn({
            let (freshness, log) = (Arc::clone(&freshness), log.clone());
            async move { freshness.confirm(&log, 0, Duration::ZERO).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "one record has not been applied");
        freshness.applied(1);
        waiting.await.unwrap().unwrap();
        freshness.confirm(&log, 0, LONG).await.unwrap();
    }
}
