//! Finds out whether a row was published.
//!
//! First the store has to have everything that the log held ([`Relay::drained`]): then a row that was appended stands in
//! its channel's history, behind the position that was noted before. What an append that had no answer might still bring
//! later, moments after, is the same message id within the dedup window.

use futures_util::future::join_all;
use hashbrown::HashSet;
use skywave_ports::log::Partition;
use skywave_ports::{Mark, Store, StoreError};
use skywave_protocol::limits::HISTORY_PAGE_MAX;
use skywave_protocol::message::HistoryQuery;

use super::Relay;
use super::row::Outgoing;
use crate::drained;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Published,
    NotPublished,
    /// It is not in what is kept, and something is not kept.
    Forgotten,
}

impl Relay {
    /// Those of the partitions whose store has everything that the log holds now.
    pub(super) async fn drained(&self, partitions: HashSet<Partition>) -> HashSet<Partition> {
        let drains = partitions.into_iter().map(async |partition| {
            match drained::wait(&*self.ports.log, &*self.ports.store, partition).await {
                Ok(()) => Some(partition),
                Err(error) => {
                    tracing::debug!(%error, "rows cannot be verified now");
                    None
                }
            }
        });
        join_all(drains).await.into_iter().flatten().collect()
    }
}

/// Looks for the row in what is stored behind its mark.
pub(super) async fn verify(
    store: &dyn Store,
    outgoing: &Outgoing,
    mark: &Mark,
) -> Result<Verdict, StoreError> {
    let (mut after, mut forgotten, mut of_mark) = (mark.after, false, true);
    loop {
        let channel = outgoing.channel.clone();
        let query = HistoryQuery { channel, after, before: 0, limit: HISTORY_PAGE_MAX, reverse: false };
        let rows = store.history(&query).await?;
        if of_mark && rows.epoch != mark.epoch {
            // Another generation of the log: its offsets say nothing about the mark's.
            (after, of_mark) = (0, false);
            continue;
        }
        forgotten |= rows.first > after + 1;
        let ours = |id: Option<&_>, from| id == Some(&outgoing.message_id) && from == &outgoing.publisher;
        if rows.publications.iter().any(|found| ours(found.id.as_ref(), &found.from)) {
            return Ok(Verdict::Published);
        }
        match rows.publications.last() {
            Some(last) if last.offset < rows.head => after = last.offset,
            _ if forgotten => return Ok(Verdict::Forgotten),
            _ => return Ok(Verdict::NotPublished),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skywave_ports::Retention;
    use skywave_ports::memory::MemoryStore;
    use skywave_protocol::{ChannelName, Epoch, MessageId, Payload, UserId};

    use super::*;
    use crate::stored;

    fn channel() -> ChannelName {
        ChannelName::parse("chat:1").unwrap()
    }

    /// Publications 1 … `count` with their offsets as ids, all of ada's.
    async fn store(count: u64) -> MemoryStore {
        stored::by_offset(&channel(), count, UserId::parse("ada").ok(), |_| 0).await
    }

    async fn verdict(store: &MemoryStore, id: &str, from: &str, epoch: &str, after: u64) -> Verdict {
        let outgoing = Outgoing {
            id: 1,
            channel: channel(),
            message_id: MessageId::parse(id).unwrap(),
            publisher: UserId::parse(from).ok(),
            data: Payload::Json(Bytes::from_static(b"1")),
        };
        let mark = Mark { epoch: Epoch::parse(epoch).unwrap(), after };
        verify(store, &outgoing, &mark).await.unwrap()
    }

    #[tokio::test]
    async fn it_is_found_behind_its_mark_over_any_number_of_pages() {
        let store = store(2_500).await;
        for after in [0, 1_499, 2_498] {
            assert_eq!(verdict(&store, "2499", "ada", "now", after).await, Verdict::Published);
        }
        assert_eq!(verdict(&store, "2499", "ada", "now", 2_499).await, Verdict::NotPublished);
        assert_eq!(verdict(&store, "9999", "ada", "now", 3).await, Verdict::NotPublished);
        assert_eq!(verdict(&store, "7", "bob", "now", 0).await, Verdict::NotPublished, "another's id");
    }

    #[tokio::test]
    async fn what_history_has_forgotten_is_not_guessed() {
        let store = store(2_000).await;
        store.retain("chat", Retention { size: 1_500, not_before_ms: 0 }).await.unwrap();
        assert_eq!(verdict(&store, "9", "ada", "now", 8).await, Verdict::Forgotten);
        assert_eq!(verdict(&store, "1900", "ada", "now", 8).await, Verdict::Published);
        assert_eq!(verdict(&store, "9999", "ada", "now", 500).await, Verdict::NotPublished);
    }

    #[tokio::test]
    async fn after_a_failover_all_that_is_kept_is_looked_at() {
        let store = store(20).await;
        assert_eq!(verdict(&store, "9", "ada", "before", 15).await, Verdict::Published);
        assert_eq!(verdict(&store, "99", "ada", "before", 15).await, Verdict::NotPublished);
        assert_eq!(verdict(&store, "99", "ada", "before", 0).await, Verdict::NotPublished);
        store.retain("chat", Retention { size: 10, not_before_ms: 0 }).await.unwrap();
        assert_eq!(verdict(&store, "9", "ada", "before", 15).await, Verdict::Forgotten);
    }
}
