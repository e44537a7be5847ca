//! The store's contract, its plans, and its behaviour with many channels.

use std::sync::Arc;

use bytes::Bytes;
use rand::SeedableRng;
use skywave_ports::{DedupKeep, StoredPublication};
use skywave_protocol::{ChannelName, Payload, Publication};

use super::*;

const KEEP: DedupKeep = DedupKeep { not_before_ms: 0, entries: usize::MAX };

async fn open(folder: &Path, options: StoreOptions) -> SqliteStore {
    SqliteStore::open(folder, options, random_epoch(&mut rand::rng())).await.unwrap()
}

fn row(name: &str, offset: u64) -> StoredPublication {
    let data = Payload::Json(Bytes::from_static(b"1"));
    let publication = Arc::new(Publication { offset, id: None, from: None, time_ms: offset, data });
    StoredPublication { channel: ChannelName::parse(name).unwrap(), publication }
}

fn batch(expected: u64, publications: Vec<StoredPublication>) -> Commit {
    let next = expected + publications.len() as u64;
    Commit { expected, next, publications, dedup: Vec::new(), dedup_keep: KEEP }
}

#[tokio::test]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |name: &str| open(&folder.path().join(name), StoreOptions::default()).await;
    skywave_ports::conformance::store::suite(open).await;
}

#[tokio::test]
async fn conforms_with_one_reader_and_a_short_memory() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { readers: 1, known_channels: 2, journal_bytes: 50_000 };
    let open = async |name: &str| open(&folder.path().join(name), options.clone()).await;
    skywave_ports::conformance::store::suite(open).await;
}

#[test]
fn epochs_are_hexadecimal_and_random() {
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let (one, two) = (random_epoch(&mut random), random_epoch(&mut random));
    assert!(one != two && one.as_str().len() == 16, "{one} {two}");
}

/// A page must be a range scan: no sort, no scan of a table.
#[tokio::test]
async fn history_pages_are_range_scans() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path(), StoreOptions::default()).await;
    let mut connection = sqlite::connect_reader(&folder.path().join("store.db")).await.unwrap();
    for text in [history::ASCENDING, history::DESCENDING] {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
        let plan = sqlx::query(explain).fetch_all(&mut connection).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        assert!(
            plan.iter().all(|step| step.contains("SEARCH") || step.contains("SCALAR SUBQUERY")),
            "{plan:#?}"
        );
    }
}

#[tokio::test]
async fn many_channels_load_in_one_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), StoreOptions { known_channels: 1_000, ..StoreOptions::default() }).await;
    let mut expected = 0;
    for round in 0..20 {
        let rows = (0..2_000).map(|n| row(&format!("many:{}", round * 2_000 + n), 1)).collect();
        store.commit(0, batch(expected, rows)).await.unwrap();
        expected += 2_000;
    }
    let snapshot = store.load(0, 0).await.unwrap();
    assert_eq!((snapshot.heads.len(), snapshot.checkpoint), (40_000, 40_000));
}

#[tokio::test]
async fn a_failed_commit_is_forgotten_and_the_next_one_works() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), StoreOptions::default()).await;
    store.commit(0, batch(0, vec![row("c:1", 1)])).await.unwrap();
    // The offset is taken: the transaction fails half-way, with a new channel in it.
    let failed = store.commit(0, batch(1, vec![row("c:new", 1), row("c:1", 1)])).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    store.commit(0, batch(1, vec![row("c:other", 1), row("c:new", 1), row("c:1", 2)])).await.unwrap();
    let mut heads = store.load(0, 0).await.unwrap().heads;
    heads.sort();
    let heads: Vec<_> = heads.iter().map(|(name, head)| (name.as_str(), *head)).collect();
    assert_eq!(heads, [("c:1", 2), ("c:new", 1), ("c:other", 1)]);
}

#[tokio::test]
async fn a_commit_that_is_given_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), StoreOptions::default()).await;
    for polls in 1..40 {
        let rows = (0..300).map(|n| row(&format!("c:{n}"), 1)).collect();
        let mut commit = Box::pin(store.commit(0, batch(0, rows)));
        let mut left = polls;
        let given_up = std::future::poll_fn(|context| {
            left -= 1;
            match commit.as_mut().poll(context) {
                std::task::Poll::Ready(result) => std::task::Poll::Ready(result.is_err()),
                std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(true),
                std::task::Poll::Pending => std::task::Poll::Pending,
            }
        });
        let given_up = given_up.await;
        drop(commit);
        let snapshot = store.load(0, 0).await.unwrap();
        if !given_up || snapshot.checkpoint == 300 {
            assert_eq!((snapshot.checkpoint, snapshot.heads.len()), (300, 300), "whole");
            return;
        }
        assert_eq!((snapshot.checkpoint, snapshot.heads.len()), (0, 0), "or not at all");
    }
    panic!("the commit never ended");
}
