//! The contract of [`Store`].

use std::sync::Arc;

use bytes::Bytes;
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, MessageId, Offset, Payload, Publication, UserId};

use super::check;
use crate::dedup::DedupEntry;
use crate::log::Partition;
use crate::store::{Checkpoint, Commit, DedupKeep, Retention, Store, StoreError, StoredPublication};

/// Runs every check; `open` opens the store of a name (see the module above).
pub async fn suite<S: Store>(open: impl AsyncFn(&str) -> S) {
    check("a new store makes an epoch and remembers it", epoch(&open)).await;
    check("a commit is conditional on the checkpoint", conditional(&open("conditional").await)).await;
    check("a refused commit leaves nothing", refused_leaves_nothing(&open("refused").await)).await;
    check("what was committed is there after a restart", survives_restart(&open)).await;
    check("publications come back as they were", faithful(&open("faithful").await)).await;
    check("history keeps to its bounds, direction and limit", history_bounds(&open("bounds").await)).await;
    check("history of an unknown channel is empty", unknown_channel(&open("unknown").await)).await;
    check("channels do not share history", channels_are_apart(&open("apart").await)).await;
    check("a partition loads its own heads and dedup entries", partitions(&open("partitions").await)).await;
    check("large commits are taken whole", large_commit(&open("large").await)).await;
    check("retention by size keeps the newest", retention_by_size(&open("size").await)).await;
    check("retention by age takes from the old end only", retention_by_age(&open("age").await)).await;
    check("retention leaves other namespaces alone", retention_scope(&open("scope").await)).await;
    check("retention never moves a head back", retention_keeps_heads(&open)).await;
    check("dedup entries load from the asked time on", dedup_since(&open("dedup").await)).await;
    check("dedup entries outlive nothing but their horizon", dedup_horizon(&open)).await;
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("a test names its channels well")
}

fn publication(offset: Offset, time_ms: u64) -> Arc<Publication> {
    Arc::new(Publication {
        offset,
        id: MessageId::parse(&format!("id-{offset}")).ok(),
        from: UserId::parse("ada").ok(),
        time_ms,
        data: Payload::Json(Bytes::from(format!("{{\"n\":{offset}}}"))),
    })
}

fn row(name: &str, offset: Offset) -> StoredPublication {
    StoredPublication { channel: channel(name), publication: publication(offset, offset * 1_000) }
}

fn rows(name: &str, offsets: std::ops::RangeInclusive<Offset>) -> Vec<StoredPublication> {
    offsets.map(|offset| row(name, offset)).collect()
}

/// Keeps everything.
const KEEP: DedupKeep = DedupKeep { not_before_ms: 0, entries: usize::MAX };

fn batch(expected: Checkpoint, next: Checkpoint, publications: Vec<StoredPublication>) -> Commit {
    Commit { expected, next, publications, dedup: Vec::new(), dedup_keep: KEEP }
}

fn entry(number: u8, time_ms: u64) -> DedupEntry {
    DedupEntry { key: [number; 16], offset: u64::from(number), time_ms }
}

async fn commit(store: &impl Store, partition: Partition, batch: Commit) {
    store.commit(partition, batch).await.expect("a commit");
}

fn query(name: &str, after: Offset, before: Offset, limit: u32, reverse: bool) -> HistoryQuery {
    HistoryQuery { channel: channel(name), after, before, limit, reverse }
}

/// (first, head, offsets) of an answer.
async fn offsets(store: &impl Store, query: HistoryQuery) -> (Offset, Offset, Vec<Offset>) {
    let rows = store.history(&query).await.expect("history");
    (rows.first, rows.head, rows.publications.iter().map(|publication| publication.offset).collect())
}

async fn all(store: &impl Store, name: &str) -> (Offset, Offset, Vec<Offset>) {
    offsets(store, query(name, 0, 0, 1_000, false)).await
}

/// Calls `retain` until it has been through; returns how many went.
async fn retain(store: &impl Store, namespace: &str, size: u32, not_before_ms: u64) -> u64 {
    let mut removed = 0;
    loop {
        let done = store.retain(namespace, Retention { size, not_before_ms }).await.expect("retention");
        removed += done.removed;
        if done.complete {
            return removed;
        }
    }
}

async fn epoch<S: Store>(open: &impl AsyncFn(&str) -> S) {
    let store = open("epoch").await;
    let snapshot = store.load(0, 0).await.expect("a snapshot");
    assert_eq!((snapshot.checkpoint, snapshot.heads.len(), snapshot.dedup.len()), (0, 0, 0));
    drop(store);
    let again = open("epoch").await.load(0, 0).await.expect("a snapshot");
    assert_eq!(again.epoch, snapshot.epoch, "the same store, the same epoch");
    let other = open("epoch-of-another").await.load(0, 0).await.expect("a snapshot");
    assert_ne!(other.epoch, snapshot.epoch, "another store, another epoch");
}

async fn conditional(store: &impl Store) {
    commit(store, 0, batch(0, 5, rows("c:1", 1..=5))).await;
    for expected in [0, 4, 6] {
        assert_eq!(
            store.commit(0, batch(expected, 9, rows("c:1", 6..=9))).await,
            Err(StoreError::CheckpointMoved { expected, found: 5 })
        );
    }
    commit(store, 0, batch(5, 9, rows("c:1", 6..=9))).await;
    assert_eq!(store.load(0, 0).await.expect("a snapshot").checkpoint, 9);
    commit(store, 0, batch(9, 12, Vec::new())).await;
    assert_eq!(store.load(0, 0).await.expect("a snapshot").checkpoint, 12, "a batch may hold nothing");
}

async fn refused_leaves_nothing(store: &impl Store) {
    commit(store, 0, batch(0, 1, rows("c:1", 1..=1))).await;
    let mut refused = batch(0, 3, rows("c:1", 2..=3));
    refused.publications.push(row("c:new", 1));
    refused.dedup.push(entry(1, 10));
    assert!(store.commit(0, refused).await.is_err());
    assert_eq!(all(store, "c:1").await, (1, 1, vec![1]));
    let snapshot = store.load(0, 0).await.expect("a snapshot");
    assert_eq!((snapshot.checkpoint, snapshot.heads), (1, vec![(channel("c:1"), 1)]));
    assert!(snapshot.dedup.is_empty());
}

async fn survives_restart<S: Store>(open: &impl AsyncFn(&str) -> S) {
    let store = open("restart").await;
    let mut first = batch(0, 10, rows("c:1", 1..=10));
    first.dedup = vec![entry(1, 5), entry(2, 6)];
    commit(&store, 0, first).await;
    let before = store.load(0, 0).await.expect("a snapshot");
    drop(store);
    let store = open("restart").await;
    assert_eq!(store.load(0, 0).await.expect("a snapshot"), before);
    assert_eq!(all(&store, "c:1").await, (1, 10, (1..=10).collect()));
    commit(&store, 0, batch(10, 12, rows("c:1", 11..=12))).await;
    drop(store);
    assert_eq!(all(&open("restart").await, "c:1").await, (1, 12, (1..=12).collect()));
}

async fn faithful(store: &impl Store) {
    let variants = [
        Payload::Json(Bytes::from_static(b"\"text\"")),
        Payload::Binary(Bytes::from_static(&[0, 255, 10, 0])),
        Payload::Binary(Bytes::new()),
        Payload::Binary(Bytes::from(vec![9; 200_000])),
    ];
    let ids = [None, MessageId::parse("01J").ok(), MessageId::parse(&"i".repeat(64)).ok(), None];
    let users = [None, UserId::parse("Grüße, 世界").ok(), None, UserId::parse(&"u".repeat(128)).ok()];
    let publications: Vec<_> = (1..)
        .zip(variants)
        .zip(ids)
        .zip(users)
        .map(|(((offset, data), id), from)| {
            Arc::new(Publication { offset, id, from, time_ms: u64::from(u32::MAX) + offset, data })
        })
        .collect();
    let name = channel("odd:name.with/all=kinds,of~bytes#@+-_");
    let rows = publications
        .iter()
        .map(|publication| StoredPublication { channel: name.clone(), publication: Arc::clone(publication) });
    commit(store, 0, batch(0, 4, rows.collect())).await;
    let asked = HistoryQuery { channel: name, after: 0, before: 0, limit: 10, reverse: false };
    assert_eq!(store.history(&asked).await.expect("history").publications, publications);
}

async fn history_bounds(store: &impl Store) {
    commit(store, 0, batch(0, 20, rows("c:1", 1..=20))).await;
    for after in [0, 1, 7, 19, 20, 25] {
        for before in [0, 1, 5, 8, 20, 21, 30] {
            for limit in [1, 3, 100] {
                for reverse in [false, true] {
                    let inside = |o: &Offset| *o > after && (before == 0 || *o < before);
                    let mut expected: Vec<Offset> = (1..=20).filter(inside).collect();
                    if reverse {
                        expected.reverse();
                    }
                    expected.truncate(limit as usize);
                    let got = offsets(store, query("c:1", after, before, limit, reverse)).await;
                    assert_eq!(got, (1, 20, expected), "{after} {before} {limit} {reverse}");
                }
            }
        }
    }
}

async fn unknown_channel(store: &impl Store) {
    let epoch = store.load(0, 0).await.expect("a snapshot").epoch;
    let rows = store.history(&query("nobody:1", 0, 0, 10, false)).await.expect("history");
    assert_eq!((rows.epoch, rows.head, rows.first, rows.publications.len()), (epoch, 0, 1, 0));
}

async fn channels_are_apart(store: &impl Store) {
    let mut mixed = Vec::new();
    for offset in 1..=30 {
        mixed.extend(["a:1", "a:11", "a", "b:1"].map(|name| row(name, offset)));
    }
    commit(store, 0, batch(0, 120, mixed)).await;
    for name in ["a:1", "a:11", "a", "b:1"] {
        assert_eq!(all(store, name).await, (1, 30, (1..=30).collect()));
    }
    assert_eq!(all(store, "a:111").await, (1, 0, vec![]));
}

async fn partitions(store: &impl Store) {
    for partition in 0..3 {
        let mut batch = batch(0, 10, rows(&format!("c:{partition}"), 1..=u64::from(partition) + 1));
        batch.dedup = vec![entry(partition as u8, 5)];
        commit(store, partition, batch).await;
    }
    for partition in 0..3 {
        let snapshot = store.load(partition, 0).await.expect("a snapshot");
        assert_eq!(snapshot.checkpoint, 10);
        assert_eq!(snapshot.heads, [(channel(&format!("c:{partition}")), u64::from(partition) + 1)]);
        assert_eq!(snapshot.dedup, [entry(partition as u8, 5)]);
    }
    assert_eq!(store.load(3, 0).await.expect("a snapshot").checkpoint, 0);
}

/// Beyond what one statement of any database takes, over known and new channels.
async fn large_commit(store: &impl Store) {
    commit(store, 0, batch(0, 3_000, (0..3_000).map(|n| row(&format!("c:{n}"), 1)).collect())).await;
    let mut second: Vec<_> =
        (0..4_000).map(|n| row(&format!("c:{n}"), if n < 3_000 { 2 } else { 1 })).collect();
    second.extend(rows("c:hot", 1..=10_000));
    let mut second = batch(3_000, 17_000, second);
    second.dedup = (0..14_000u32)
        .map(|n| {
            let mut entry = entry(0, u64::from(n));
            entry.key[..4].copy_from_slice(&n.to_be_bytes());
            entry
        })
        .collect();
    let dedup = second.dedup.clone();
    commit(store, 0, second).await;
    let snapshot = store.load(0, 0).await.expect("a snapshot");
    assert_eq!((snapshot.checkpoint, snapshot.heads.len()), (17_000, 4_001));
    assert!(snapshot.dedup == dedup, "dedup entries in log order");
    assert_eq!(all(store, "c:0").await, (1, 2, vec![1, 2]));
    assert_eq!(all(store, "c:3999").await, (1, 1, vec![1]));
    let got = offsets(store, query("c:hot", 9_000, 0, 1_000, false)).await;
    assert_eq!(got, (1, 10_000, (9_001..=10_000).collect()));
}

async fn retention_by_size(store: &impl Store) {
    let mut mixed = rows("keep:long", 1..=2_500);
    mixed.extend(rows("keep:short", 1..=3));
    mixed.extend(rows("keep:exact", 1..=10));
    commit(store, 0, batch(0, 1, mixed)).await;
    assert_eq!(retain(store, "keep", 10, 0).await, 2_490);
    assert_eq!(all(store, "keep:long").await, (2_491, 2_500, (2_491..=2_500).collect()));
    assert_eq!(all(store, "keep:short").await, (1, 3, vec![1, 2, 3]));
    assert_eq!(all(store, "keep:exact").await, (1, 10, (1..=10).collect()));
    assert_eq!(retain(store, "keep", 10, 0).await, 0, "nothing is left to do");
    commit(store, 0, batch(1, 2, rows("keep:exact", 11..=12))).await;
    assert_eq!(retain(store, "keep", 10, 0).await, 2);
    assert_eq!(all(store, "keep:exact").await, (3, 12, (3..=12).collect()));
}

async fn retention_by_age(store: &impl Store) {
    // Record times may go back a little: what is kept stays dense all the same.
    let times = [100, 300, 200, 400, 250, 500];
    let rows = (1..).zip(times).map(|(offset, time)| StoredPublication {
        channel: channel("age:1"),
        publication: publication(offset, time),
    });
    commit(store, 0, batch(0, 6, rows.collect())).await;
    assert_eq!(retain(store, "age", 100, 100).await, 0);
    assert_eq!(retain(store, "age", 100, 260).await, 1, "300 is young enough and shields what follows");
    assert_eq!(all(store, "age:1").await, (2, 6, (2..=6).collect()));
    assert_eq!(retain(store, "age", 100, 450).await, 4);
    assert_eq!(all(store, "age:1").await, (6, 6, vec![6]));
}

async fn retention_scope(store: &impl Store) {
    let names = ["ns:1", "ns", "nsx:1", "n:1", "other:ns:1"];
    let mut mixed = Vec::new();
    for name in names {
        mixed.extend(rows(name, 1..=5));
    }
    commit(store, 0, batch(0, 25, mixed)).await;
    assert_eq!(retain(store, "ns", 2, 0).await, 3);
    assert_eq!(retain(store, "nobody", 0, 0).await, 0);
    assert_eq!(all(store, "ns:1").await, (4, 5, vec![4, 5]));
    for name in &names[1..] {
        assert_eq!(all(store, name).await.0, 1, "{name}");
    }
    assert_eq!(retain(store, "", 1, 0).await, 4, "a bare name is in the default namespace");
    assert_eq!(all(store, "ns").await, (5, 5, vec![5]));
}

async fn retention_keeps_heads<S: Store>(open: &impl AsyncFn(&str) -> S) {
    let store = open("heads").await;
    commit(&store, 0, batch(0, 5, rows("h:1", 1..=5))).await;
    assert_eq!(retain(&store, "h", 0, 0).await, 5);
    assert_eq!(all(&store, "h:1").await, (6, 5, vec![]));
    drop(store);
    let store = open("heads").await;
    assert_eq!(store.load(0, 0).await.expect("a snapshot").heads, [(channel("h:1"), 5)]);
    assert_eq!(all(&store, "h:1").await, (6, 5, vec![]));
    commit(&store, 0, batch(5, 6, rows("h:1", 6..=6))).await;
    assert_eq!(all(&store, "h:1").await, (6, 6, vec![6]));
}

async fn dedup_since(store: &impl Store) {
    for n in 0..10u8 {
        let mut batch = batch(n.into(), u64::from(n) + 1, Vec::new());
        batch.dedup = vec![entry(n, u64::from(n) * 100), entry(n + 100, u64::from(n) * 100 + 50)];
        commit(store, 0, batch).await;
    }
    let loaded = store.load(0, 450).await.expect("a snapshot").dedup;
    let wanted: Vec<_> = (0..10u8)
        .flat_map(|n| [entry(n, u64::from(n) * 100), entry(n + 100, u64::from(n) * 100 + 50)])
        .filter(|entry| entry.time_ms >= 450)
        .collect();
    assert_eq!(loaded, wanted);
}

async fn dedup_horizon<S: Store>(open: &impl AsyncFn(&str) -> S) {
    let store = open("horizon").await;
    for n in 0..200u8 {
        let mut batch = batch(n.into(), u64::from(n) + 1, Vec::new());
        batch.dedup = vec![entry(n, u64::from(n) * 100)];
        batch.dedup_keep =
            DedupKeep { not_before_ms: (u64::from(n) * 100).saturating_sub(5_000), entries: 20 };
        commit(&store, 0, batch).await;
    }
    drop(store);
    let loaded = open("horizon").await.load(0, 0).await.expect("a snapshot").dedup;
    let newest: Vec<_> = (180..200u8).map(|n| entry(n, u64::from(n) * 100)).collect();
    assert!(loaded.ends_with(&newest), "the newest twenty are kept, in order");
}
