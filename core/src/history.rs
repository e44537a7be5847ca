//! Answers history reads: rows of the store, joined with the tail that is sequenced but not yet stored.
//!
//! No hole at the seam: the tail is read *before* the store. What leaves the tail in between is in the store by then, and
//! what both hold is taken once.
//!
//! At most `history_in_flight` reads run at a time; others wait in the request queue, and what does not fit there is
//! dropped by the bus (the asking edge tries again).

use std::sync::Arc;

use skywave_ports::{BusError, BusMessage, HistoryRows, Inbox, StoreError, Subscription};
use skywave_protocol::inner::{CoreAnswer, CoreRequest, HistoryAnswer};
use skywave_protocol::limits::HISTORY_PAGE_MAX;
use skywave_protocol::message::{GapReason, HistoryQuery};
use skywave_protocol::{Epoch, ErrorCode, Position, Subject, WireError};
use tokio::sync::{Semaphore, mpsc};

use crate::ingest::GROUP;
use crate::service::Shared;
use crate::stop::StopSignal;
use crate::tail::ChannelTail;

pub(crate) struct History {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<BusMessage>,
    subscription: Subscription,
}

impl History {
    pub(crate) async fn subscribe(shared: Arc<Shared>) -> Result<Self, BusError> {
        let (inbox, requests) = Inbox::new(shared.config.request_queue);
        let subject = Subject::history(&shared.config.cell);
        let subscription = shared.bus.subscribe(&subject, Some(GROUP), &inbox).await?;
        Ok(Self { shared, requests, subscription })
    }

    /// Runs until told to stop; reads that have begun are then left to end by themselves.
    pub(crate) async fn run(self, mut stop: StopSignal) {
        let Self { shared, mut requests, subscription } = self;
        let slots = Arc::new(Semaphore::new(shared.config.history_in_flight));
        loop {
            let message = tokio::select! {
                message = requests.recv() => message,
                _ = stop.requested() => break,
            };
            let Some(message) = message else { break };
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                serve(&shared, message).await;
                drop(slot);
            });
        }
        drop(subscription);
    }
}

async fn serve(shared: &Shared, message: BusMessage) {
    let (query, reply) = match CoreRequest::decode(message.payload) {
        Ok(CoreRequest::History { query, reply }) => (query, reply),
        Ok(CoreRequest::Publish(_)) | Err(_) => {
            shared.metrics.requests_malformed.inc();
            return;
        }
    };
    let answer = shared.history(query).await;
    match &answer {
        Ok(_) => {
            shared.metrics.history_reads.inc();
        }
        Err(error) => {
            shared.metrics.history_failures.inc();
            tracing::debug!(%error, "a history read failed");
        }
    }
    shared.answer(&reply, answer.map(CoreAnswer::History));
}

impl Shared {
    /// Reads history. `limit` is cut to the protocol's page size.
    pub(crate) async fn history(&self, mut query: HistoryQuery) -> Result<HistoryAnswer, WireError> {
        query.limit = query.limit.clamp(1, HISTORY_PAGE_MAX);
        let tail = match self.owned.get(self.partition_of(&query.channel)) {
            // Another core owns the partition: what it has not yet stored is not to be seen from here.
            None => ChannelTail::default(),
            Some(owned) => {
                let tail = owned
                    .tail
                    .ok_or_else(|| unavailable("the log is being replayed", self.config.retry_after_ms))?;
                tail.read(&query)
            }
        };
        match self.store.history(&query).await {
            Ok(rows) => Ok(join(query, rows, tail)),
            Err(error) => self.tail_alone(query, tail, error),
        }
    }

    /// Without the store, what lies wholly in the tail can still be had.
    fn tail_alone(
        &self,
        query: HistoryQuery,
        tail: ChannelTail,
        error: StoreError,
    ) -> Result<HistoryAnswer, WireError> {
        let epoch = self.epoch.read().clone();
        match epoch {
            Some(epoch) if !query.reverse && tail.first > 0 && query.after + 1 >= tail.first => {
                let rows =
                    HistoryRows { epoch, head: tail.first - 1, first: tail.first, publications: Vec::new() };
                Ok(join(query, rows, tail))
            }
            _ => {
                tracing::debug!(%error, "the store cannot be read");
                Err(unavailable("history cannot be read now", self.config.retry_after_ms))
            }
        }
    }

    pub(crate) fn remember_epoch(&self, epoch: &Epoch) {
        *self.epoch.write() = Some(epoch.clone());
    }
}

fn unavailable(message: &str, retry_after_ms: u64) -> WireError {
    WireError::new(ErrorCode::StoreUnavailable, message).retry_after_ms(retry_after_ms)
}

/// Joins what the store answered with what the tail held before the store was asked.
fn join(query: HistoryQuery, rows: HistoryRows, tail: ChannelTail) -> HistoryAnswer {
    let HistoryRows { epoch, head: stored_head, first, publications: stored } = rows;
    assert!(
        tail.first <= stored_head + 1,
        "what has left the tail is in the store: {} after {stored_head}",
        tail.first
    );
    let limit = query.limit as usize;
    let mut unstored = tail.publications;
    unstored.retain(|publication| publication.offset > stored_head);
    let publications = if query.reverse {
        unstored.into_iter().rev().chain(stored).take(limit).collect()
    } else {
        stored.into_iter().chain(unstored).take(limit).collect()
    };
    let head = stored_head.max(tail.head);
    HistoryAnswer {
        gap: gap(&query, first, head),
        channel: query.channel,
        head: Position { epoch, offset: head },
        first,
        publications,
    }
}

/// `Retention` when the asked range begins before what is kept.
fn gap(query: &HistoryQuery, first: u64, head: u64) -> Option<GapReason> {
    let from = query.after + 1;
    let to = if query.before == 0 { head } else { head.min(query.before.saturating_sub(1)) };
    (from <= to && from < first).then_some(GapReason::Retention)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use skywave_protocol::{ChannelName, Offset, Payload, Publication};

    use super::*;

    fn publication(offset: Offset) -> Arc<Publication> {
        Arc::new(Publication {
            offset,
            id: None,
            from: None,
            time_ms: 0,
            data: Payload::Json(Bytes::from_static(b"1")),
        })
    }

    fn query(after: Offset, before: Offset, limit: u32, reverse: bool) -> HistoryQuery {
        HistoryQuery { channel: ChannelName::parse("c:1").unwrap(), after, before, limit, reverse }
    }

    /// What a store that keeps `first ..= head` answers.
    fn store(query: &HistoryQuery, first: Offset, head: Offset) -> HistoryRows {
        let mut publications: Vec<_> =
            (first..=head).filter(|o| inside(query, *o)).map(publication).collect();
        if query.reverse {
            publications.reverse();
        }
        publications.truncate(query.limit as usize);
        HistoryRows { epoch: Epoch::parse("e").unwrap(), head, first, publications }
    }

    fn tail(query: &HistoryQuery, first: Offset, head: Offset) -> ChannelTail {
        if first > head {
            return ChannelTail::default();
        }
        let mut publications: Vec<_> =
            (first..=head).filter(|o| inside(query, *o)).map(publication).collect();
        let limit = query.limit as usize;
        match query.reverse {
            false => publications.truncate(limit),
            true => drop(publications.drain(..publications.len().saturating_sub(limit))),
        }
        ChannelTail { first, head, publications }
    }

    fn inside(query: &HistoryQuery, offset: Offset) -> bool {
        offset > query.after && (query.before == 0 || offset < query.before)
    }

    proptest! {
        /// Wherever the seam is, and however much of the tail was stored between the two reads, the answer is that of one
        /// store which holds everything.
        #[test]
        fn the_seam_cannot_be_seen(
            first in 1u64..20,
            kept in 0u64..30,
            in_tail in 0u64..20,
            stored_meanwhile in 0u64..20,
            after in 0u64..60,
            before in 0u64..60,
            limit in 1u32..40,
            reverse: bool,
        ) {
            let stored_head = first + kept - 1;
            let head = stored_head + in_tail;
            let query = query(after, before, limit, reverse);
            let tail = tail(&query, stored_head + 1, head);
            let seen_by_store = stored_head + stored_meanwhile.min(in_tail);
            let answer = join(query.clone(), store(&query, first, seen_by_store), tail);
            let whole = store(&query, first, head);
            prop_assert_eq!(answer.publications, whole.publications);
            prop_assert_eq!((answer.head.offset, answer.first), (head, first));
        }
    }

    #[test]
    fn a_range_that_begins_before_what_is_kept_is_a_gap() {
        let asked = |after, before| gap(&query(after, before, 10, false), 5, 9);
        assert_eq!(asked(0, 0), Some(GapReason::Retention));
        assert_eq!(asked(3, 0), Some(GapReason::Retention));
        assert_eq!(asked(4, 0), None);
        assert_eq!(asked(9, 0), None, "nothing is asked for");
        assert_eq!(asked(2, 3), None, "nor here");
        assert_eq!(asked(2, 4), Some(GapReason::Retention));
        assert_eq!(gap(&query(0, 0, 10, false), 1, 0), None, "an empty channel misses nothing");
        assert_eq!(gap(&query(0, 0, 10, false), 8, 7), Some(GapReason::Retention), "nothing is kept");
    }
}
