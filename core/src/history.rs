//! Answers history reads: rows of the store, joined with the tail that is sequenced but not yet stored.
//!
//! - Reads come to any core of the cell. Only the owner of the channel's partition knows the tail, so a core that does not
//!   serve the partition passes the read on (`passing`); the reply address travels along.
//! - No stale answer: an owner that may have been paused first proves that it is not behind (`freshness`).
//! - No hole at the seam: the tail is read *before* the store. What leaves the tail in between is in the store by then, and
//!   what both hold is taken once.
//!
//! At most `history_in_flight` reads run at a time; others wait in the request queue, and what does not fit there is
//! dropped by the bus (the asking edge tries again).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skywave_ports::log::Partition;
use skywave_ports::{BusError, BusMessage, HistoryRows, StoreError, Subscription};
use skywave_protocol::inner::{CellNews, CoreAnswer, CoreRequest, HistoryAnswer, ReplyTo};
use skywave_protocol::limits::HISTORY_PAGE_MAX;
use skywave_protocol::message::{GapReason, HistoryQuery};
use skywave_protocol::{Epoch, ErrorCode, Position, Publication, Subject, WireError};
use tokio::sync::{Semaphore, mpsc};

use crate::backoff::Backoff;
use crate::ingest::GROUP;
use crate::owned::{Ownership, Serving};
use crate::service::Shared;
use crate::stop::StopSignal;
use crate::tail::ChannelTail;

/// How long an owner may take to find out whether it is behind. Beyond it the edge is told to ask again.
const CONFIRM_WITHIN: Duration = Duration::from_secs(1);

pub(crate) struct History {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<BusMessage>,
    subscription: Subscription,
}

impl History {
    /// `inbox` also receives what other cores pass on to partitions owned here ([`listen_for_owner`]).
    pub(crate) async fn subscribe(
        shared: Arc<Shared>,
        requests: mpsc::Receiver<BusMessage>,
    ) -> Result<Self, BusError> {
        let subject = Subject::history(&shared.config.cell);
        let subscription = shared.bus.subscribe(&subject, Some(GROUP), &shared.history_inbox).await?;
        Ok(Self { shared, requests, subscription })
    }

    /// Runs until told to stop; reads that have begun are then left to end by themselves.
    pub(crate) async fn run(self, mut stop: StopSignal) {
        let Self { shared, mut requests, subscription } = self;
        let slots = Arc::new(Semaphore::new(shared.config.history_in_flight));
        let own = Subject::history(&shared.config.cell);
        loop {
            let message = tokio::select! {
                message = requests.recv() => message,
                _ = stop.requested() => break,
            };
            let Some(message) = message else { break };
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
            let shared = Arc::clone(&shared);
            let passed_on = message.subject != own;
            tokio::spawn(async move {
                serve(&shared, message.payload, passed_on).await;
                drop(slot);
            });
        }
        drop(subscription);
    }
}

/// Takes the reads that other cores pass on, as long as it is not dropped: an owner does so while it serves.
pub(crate) async fn listen_for_owner(shared: Arc<Shared>, partition: Partition) {
    let subject = Subject::partition_history(&shared.config.cell, partition);
    let mut backoff = Backoff::default();
    loop {
        match shared.bus.subscribe(&subject, None, &shared.history_inbox).await {
            Ok(_subscription) => {
                shared.tell_cell(&CellNews::Serving { partition });
                std::future::pending::<()>().await;
            }
            Err(error) => {
                tracing::debug!(partition, %error, "reads that are passed on cannot be taken yet");
                backoff.wait().await;
            }
        }
    }
}

/// `passed_on`: another core took this one for the owner, so it is not passed on again.
async fn serve(shared: &Shared, request: Bytes, passed_on: bool) {
    let (query, reply) = match CoreRequest::decode(request.clone()) {
        Ok(CoreRequest::History { query, reply }) => (query, reply),
        Ok(_) | Err(_) => {
            shared.metrics.requests_malformed.inc();
            return;
        }
    };
    let partition = shared.partition_of(&query.channel);
    match shared.owned.get(partition) {
        Some(Ownership::Serving(serving)) => {
            let answer = shared.history(partition, &serving, query).await;
            shared.answer_read(&reply, answer);
        }
        Some(Ownership::Failing { .. }) => {
            let error = unavailable("the log cannot be followed now", shared.config.retry_after_ms);
            shared.answer_read(&reply, Err(error));
        }
        // It lost the partition a moment ago; who has it now says so, and the read is passed on once more.
        None | Some(Ownership::Replaying) if passed_on => {
            shared.metrics.history_strays.inc();
        }
        None | Some(Ownership::Replaying) => {
            shared.metrics.history_passed_on.inc();
            shared.passed.remember(partition, request.clone());
            shared.pass_on(partition, request);
        }
    }
}

impl Shared {
    fn answer_read(&self, reply: &ReplyTo, answer: Result<HistoryAnswer, WireError>) {
        match &answer {
            Ok(_) => {
                self.metrics.history_reads.inc();
            }
            Err(error) => {
                self.metrics.history_failures.inc();
                tracing::debug!(%error, "a history read failed");
            }
        }
        self.answer(reply, answer.map(CoreAnswer::History));
    }

    fn pass_on(&self, partition: Partition, request: Bytes) {
        let subject = Subject::partition_history(&self.config.cell, partition);
        if let Err(error) = self.bus.publish(&subject, request) {
            tracing::debug!(partition, %error, "a read was not passed on");
        }
    }

    /// The partition has an owner again.
    pub(crate) fn pass_on_again(&self, partition: Partition) {
        for request in self.passed.take(partition) {
            self.pass_on(partition, request);
        }
    }

    /// Reads history as the partition's owner. `limit` is cut to the protocol's page size.
    async fn history(
        &self,
        partition: Partition,
        serving: &Serving,
        mut query: HistoryQuery,
    ) -> Result<HistoryAnswer, WireError> {
        query.limit = query.limit.clamp(1, HISTORY_PAGE_MAX);
        let confirmed = serving.freshness.confirm(self.log.as_ref(), partition, self.config.history_fresh());
        if !matches!(tokio::time::timeout(CONFIRM_WITHIN, confirmed).await, Ok(Ok(()))) {
            self.metrics.history_stale.inc();
            return Err(unavailable("the log cannot be read up to its end now", self.config.retry_after_ms));
        }
        let tail = serving.tail.read(&query);
        match self.store.history(&query).await {
            Ok(rows) if tail.first <= rows.head + 1 => {
                Ok(join(query, rows, tail, self.config.history_page_bytes))
            }
            Ok(rows) => {
                // What has left the tail was committed. A store that has not got it is an older copy.
                tracing::error!(channel = %query.channel, stored = rows.head, unstored = tail.first, "the store lacks what it has committed");
                Err(unavailable("history is incomplete", self.config.retry_after_ms))
            }
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
                Ok(join(query, rows, tail, self.config.history_page_bytes))
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

/// Joins what the store answered with what the tail held before the store was asked; there is nothing between the two.
/// Ends where `bytes` are full.
fn join(query: HistoryQuery, rows: HistoryRows, tail: ChannelTail, bytes: usize) -> HistoryAnswer {
    let HistoryRows { epoch, head: stored_head, first, publications: stored } = rows;
    let limit = query.limit as usize;
    let mut unstored = tail.publications;
    unstored.retain(|publication| publication.offset > stored_head);
    let publications = if query.reverse {
        page(unstored.into_iter().rev().chain(stored), limit, bytes)
    } else {
        // A store may end a page early: then the tail does not follow yet.
        let follows = stored.last().is_none_or(|last| last.offset == stored_head);
        page(stored.into_iter().chain(unstored.into_iter().filter(|_| follows)), limit, bytes)
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

/// As many as fit, and at least one.
fn page(
    publications: impl Iterator<Item = Arc<Publication>>,
    limit: usize,
    bytes: usize,
) -> Vec<Arc<Publication>> {
    let mut size = 0;
    let mut fits = |publication: &Arc<Publication>| {
        let first = size == 0;
        size += publication_bytes(publication);
        first || size <= bytes
    };
    publications.take(limit).take_while(|publication| fits(publication)).collect()
}

/// About what it takes in an answer.
fn publication_bytes(publication: &Publication) -> usize {
    const NUMBERS: usize = 24;
    let id = publication.id.as_ref().map_or(0, |id| id.as_str().len());
    let from = publication.from.as_ref().map_or(0, |from| from.as_str().len());
    publication.data.len() + id + from + NUMBERS
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
    use skywave_protocol::{ChannelName, Offset, Payload};

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

    /// What a store that keeps `first ..= head` answers, in pages of at most `page`.
    fn store(query: &HistoryQuery, first: Offset, head: Offset, page: usize) -> HistoryRows {
        let mut publications: Vec<_> =
            (first..=head).filter(|o| inside(query, *o)).map(publication).collect();
        if query.reverse {
            publications.reverse();
        }
        publications.truncate(page.min(query.limit as usize));
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
            page in 1usize..40,
            reverse: bool,
        ) {
            let stored_head = first + kept - 1;
            let head = stored_head + in_tail;
            let query = query(after, before, limit, reverse);
            let tail = tail(&query, stored_head + 1, head);
            let seen_by_store = stored_head + stored_meanwhile.min(in_tail);
            let answer = join(query.clone(), store(&query, first, seen_by_store, page), tail, usize::MAX);
            let whole = store(&query, first, head, usize::MAX);
            let (got, wanted) = (answer.publications, whole.publications);
            prop_assert_eq!(&got[..], &wanted[..got.len()]);
            prop_assert!(got.len() == wanted.len() || got.len() >= page, "a page is short only if the store's is");
            prop_assert_eq!((answer.head.offset, answer.first), (head, first));
        }
    }

    #[test]
    fn a_page_ends_where_its_bytes_are_full_and_the_next_one_goes_on() {
        let size = publication_bytes(&publication(1));
        for (bytes, expected) in [(0, 1), (size, 1), (size * 3 - 1, 2), (size * 3, 3), (usize::MAX, 9)] {
            let mut after = 0;
            while after < 9 {
                let query = query(after, 0, 100, false);
                let answer = join(query.clone(), store(&query, 1, 6, usize::MAX), tail(&query, 7, 9), bytes);
                let offsets: Vec<_> =
                    answer.publications.iter().map(|publication| publication.offset).collect();
                assert_eq!(offsets, (after + 1..=9).take(expected).collect::<Vec<_>>());
                assert_eq!((answer.head.offset, answer.gap), (9, None));
                after = offsets[offsets.len() - 1];
            }
            let query = query(0, 0, 100, true);
            let newest = join(query.clone(), store(&query, 1, 6, usize::MAX), tail(&query, 7, 9), bytes);
            assert_eq!(newest.publications.len(), expected);
            assert_eq!(newest.publications[0].offset, 9);
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
