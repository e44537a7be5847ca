//! For tests: a store with publications of one channel in it.

use std::sync::Arc;

use bytes::Bytes;
use skywave_ports::memory::MemoryStore;
use skywave_ports::{Commit, DedupKeep, Store, StoredPublication};
use skywave_protocol::{ChannelName, Epoch, MessageId, Payload, Publication, UserId};

/// Publications 1 … `count` of epoch `now`, with their offsets as ids.
pub(crate) async fn by_offset(
    channel: &ChannelName,
    count: u64,
    from: Option<UserId>,
    time_ms: impl Fn(u64) -> u64,
) -> MemoryStore {
    let store = MemoryStore::new(Epoch::parse("now").unwrap());
    let publications = (1..=count).map(|offset| StoredPublication {
        channel: channel.clone(),
        publication: Arc::new(Publication {
            offset,
            id: MessageId::parse(&offset.to_string()).ok(),
            from: from.clone(),
            time_ms: time_ms(offset),
            data: Payload::Json(Bytes::from_static(b"1")),
        }),
    });
    let commit = Commit {
        expected: 0,
        next: count,
        publications: publications.collect(),
        dedup: Vec::new(),
        dedup_keep: DedupKeep { not_before_ms: 0, entries: 0 },
    };
    store.commit(0, commit).await.unwrap();
    store
}
