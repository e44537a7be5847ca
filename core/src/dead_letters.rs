//! What cannot be processed, kept for people to look at: how one letter is written, and those of the log itself.
//!
//! A record of the log that cannot be read is passed over by every owner of its partition alike; before the checkpoint goes past
//! it, its bytes are a letter, so it comes at least once. It holds nobody up: publications are sequenced, delivered and
//! acknowledged meanwhile, and only the store waits. When letters are not taken for [`PATIENCE`], or so much waits that the
//! partition would have to, the record is passed over without: counted, and said with its place, where the log has
//! it until it is trimmed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use skywave_ports::events::{NewEvent, dead_letter};
use skywave_ports::log::{LogPosition, Partition};
use skywave_ports::{Events, EventsError};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::metrics::CoreMetrics;
use crate::tail::Tail;

/// How long the letters of one batch are tried.
const PATIENCE: Duration = Duration::from_secs(60);
/// One attempt.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Letters under way.
const IN_FLIGHT: usize = 64;

/// A record of the log, and why nobody can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) position: LogPosition,
    pub(crate) record: Bytes,
    pub(crate) reason: String,
}

/// Writes a letter, without its value if that is too large: then it can be found where it stands.
pub(crate) async fn write(events: &dyn Events, letter: &mut NewEvent) -> Result<(), EventsError> {
    match events.publish(letter.clone()).await {
        Err(EventsError::TooLarge { got, .. }) if !letter.value.is_empty() => {
            letter.value = Bytes::new();
            letter.headers.push(("value-omitted".into(), got.to_string().into()));
            events.publish(letter.clone()).await
        }
        done => done,
    }
}

/// Of one partition.
pub(crate) struct LogLetters {
    /// As `TOPIC PARTITION`, where Kafka is the log.
    source: String,
    /// `None`: there is nowhere to keep them.
    events: Option<Arc<dyn Events>>,
    metrics: CoreMetrics,
}

impl LogLetters {
    pub(crate) fn new(
        cell: &str,
        partition: Partition,
        events: Option<Arc<dyn Events>>,
        metrics: CoreMetrics,
    ) -> Self {
        Self { source: format!("skywave.log.{cell} {partition}"), events, metrics }
    }

    /// Returns when every record is a letter, or is given up.
    pub(crate) async fn bury(&self, records: &[Unreadable], tail: &Tail) {
        let Some(events) = self.events.as_deref().filter(|_| !records.is_empty()) else { return };
        let deadline = Instant::now() + PATIENCE;
        stream::iter(records)
            .for_each_concurrent(IN_FLIGHT, |record| self.bury_one(events, record, tail, deadline))
            .await;
    }

    async fn bury_one(&self, events: &dyn Events, record: &Unreadable, tail: &Tail, deadline: Instant) {
        let Unreadable { position, record, reason } = record;
        let source = format!("{}@{position}", self.source);
        let mut letter = dead_letter(&source, reason, self.source.clone().into(), record.clone());
        let mut backoff = Backoff::default();
        loop {
            let tried = tokio::time::timeout(ATTEMPT, write(events, &mut letter)).await;
            let error = match tried {
                Ok(Ok(())) => {
                    self.metrics.dead_letters.inc();
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            if Instant::now() >= deadline || tail.is_half_full() {
                self.metrics.dead_letters_lost.inc();
                tracing::error!(source, reason, error, "a log record that cannot be read is no dead letter");
                return;
            }
            if backoff.failures() == 0 {
                tracing::warn!(source, error, "dead letters are not taken; trying on");
            }
            backoff.wait().await;
        }
    }
}
