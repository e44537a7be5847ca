//! Looks up whether records were published already, when that is so long ago that the log's memory of message ids may not
//! reach back.
//!
//! First the store has to have everything that the log holds; then the channel's history is read backwards, to the time at
//! which the oldest of the records in question was written to its topic: none was published before that.

use std::time::Duration;

use hashbrown::HashSet;
use skywave_ports::{Log, Store};
use skywave_protocol::limits::HISTORY_PAGE_MAX;
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, MessageId, NamespaceOptions, UserId};

use super::mapping::Mapped;
use crate::drained::{self, NotDrained};

/// How far the clocks of producers, brokers and cores may be apart.
const CLOCKS: Duration = Duration::from_secs(10 * 60);

/// What tells a publication of a channel from all others.
pub(super) type Name = (MessageId, Option<UserId>);

/// What a channel's history says of some records.
#[derive(Debug, Default)]
pub(super) struct Found {
    published: HashSet<Name>,
    /// What was published before this may have been forgotten (milliseconds since the Unix epoch).
    forgotten_before_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Published,
    NotPublished,
    /// It is not in what is kept, and what is kept does not reach back far enough.
    Forgotten,
}

impl Found {
    /// Of a record that was written to its topic at `time_ms`.
    pub(super) fn verdict(&self, record: &Mapped, time_ms: u64) -> Verdict {
        if self.published.contains(&record.name()) {
            return Verdict::Published;
        }
        let forgotten = earliest(time_ms) < self.forgotten_before_ms;
        if forgotten { Verdict::Forgotten } else { Verdict::NotPublished }
    }
}

/// When a record that was written at `time_ms` can have been published at the earliest.
fn earliest(time_ms: u64) -> u64 {
    time_ms.saturating_sub(CLOCKS.as_millis() as u64)
}

/// Looks for `wanted` publications of a channel, all of records that were written at `oldest_ms` or later.
pub(super) async fn find(
    log: &dyn Log,
    store: &dyn Store,
    (channel, options): (&ChannelName, &NamespaceOptions),
    wanted: &HashSet<Name>,
    oldest_ms: u64,
    now_ms: u64,
) -> Result<Found, NotDrained> {
    let partition = skywave_engine::partition::of(channel, log.partitions());
    drained::wait(log, store, partition).await?;
    let (mut found, mut before) = (Found::default(), 0);
    loop {
        let (channel, limit) = (channel.clone(), HISTORY_PAGE_MAX);
        let rows = store.history(&HistoryQuery { channel, after: 0, before, limit, reverse: true }).await?;
        let names = rows.publications.iter();
        let names = names.filter_map(|kept| kept.id.clone().map(|id| (id, kept.from.clone())));
        found.published.extend(names.filter(|name| wanted.contains(name)));
        let oldest = rows.publications.last();
        if oldest.is_some_and(|oldest| oldest.time_ms < earliest(oldest_ms)) {
            return Ok(found);
        }
        match oldest {
            Some(oldest) if oldest.offset > rows.first => before = oldest.offset,
            // Nothing was ever forgotten of it.
            _ if rows.first <= 1 => return Ok(found),
            _ => {
                let kept = (rows.head + 1).saturating_sub(rows.first);
                found.forgotten_before_ms = match kept >= u64::from(options.history_size) {
                    true => oldest.map_or(u64::MAX, |oldest| oldest.time_ms),
                    false => now_ms.saturating_sub(options.history_seconds.saturating_mul(1_000)),
                };
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skywave_ports::Retention;
    use skywave_ports::memory::{MemoryLog, MemoryStore};
    use skywave_protocol::Payload;

    use super::*;
    use crate::stored;

    const HOUR: u64 = 3_600_000;

    fn channel() -> ChannelName {
        ChannelName::parse("user:ada").unwrap()
    }

    /// Publications 1 … `count`, one an hour, with their offsets as ids.
    async fn store(count: u64) -> MemoryStore {
        stored::by_offset(&channel(), count, None, |offset| offset * HOUR).await
    }

    fn mapped(id: &str) -> Mapped {
        let (id, data) = (MessageId::parse(id).unwrap(), Payload::Json(Bytes::from_static(b"1")));
        Mapped { channel: channel(), id, from: None, data }
    }

    /// With namespace options that keep 1,500 publications for 5,000 hours, in hour 3,000.
    async fn verdict(store: &MemoryStore, record: &Mapped, written: u64) -> Verdict {
        let options = NamespaceOptions {
            history_size: 1_500,
            history_seconds: 5_000 * 3_600,
            ..NamespaceOptions::default()
        };
        verdict_with(store, record, written, &options).await
    }

    async fn verdict_with(
        store: &MemoryStore,
        record: &Mapped,
        written: u64,
        options: &NamespaceOptions,
    ) -> Verdict {
        let (log, wanted) = (MemoryLog::new(1), HashSet::from_iter([record.name()]));
        let found = find(&log, store, (&channel(), options), &wanted, written * HOUR, 3_000 * HOUR).await;
        found.unwrap().verdict(record, written * HOUR)
    }

    #[tokio::test]
    async fn it_is_found_over_any_number_of_pages_back_to_its_time() {
        let store = store(2_500).await;
        assert_eq!(verdict(&store, &mapped("7"), 7).await, Verdict::Published);
        assert_eq!(verdict(&store, &mapped("2499"), 2_498).await, Verdict::Published);
        assert_eq!(verdict(&store, &mapped("9999"), 7).await, Verdict::NotPublished);
        let others = Mapped { from: UserId::parse("bob").ok(), ..mapped("7") };
        assert_eq!(verdict(&store, &others, 0).await, Verdict::NotPublished, "another's id");
    }

    #[tokio::test]
    async fn what_history_has_forgotten_is_not_guessed() {
        let store = store(2_000).await;
        store.retain("user", Retention { size: 1_500, not_before_ms: 0 }).await.unwrap();
        assert_eq!(verdict(&store, &mapped("9"), 8).await, Verdict::Forgotten);
        assert_eq!(verdict(&store, &mapped("1900"), 8).await, Verdict::Published);
        assert_eq!(verdict(&store, &mapped("9999"), 600).await, Verdict::NotPublished);
    }

    #[tokio::test]
    async fn a_channel_that_was_emptied_by_time_forgot_nothing_younger() {
        let store = store(20).await;
        store.retain("user", Retention { size: 1_500, not_before_ms: u64::MAX }).await.unwrap();
        assert_eq!(verdict(&store, &mapped("x"), 2_900).await, Verdict::NotPublished);
        let short = NamespaceOptions { history_seconds: 3_600, ..NamespaceOptions::default() };
        assert_eq!(verdict_with(&store, &mapped("x"), 2_900, &short).await, Verdict::Forgotten);
    }
}
