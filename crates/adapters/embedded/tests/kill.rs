//! `kill -9` under load, again and again: what was acknowledged is there.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;
use skywave_ports::{Commit, DedupEntry, DedupKeep, Store, StoredPublication};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, Payload, Publication};
use support::{Told, acknowledged, check_log, child_folder, open_log, open_store, tell};

const ROUNDS: usize = 30;

#[tokio::test]
async fn acknowledged_records_survive_kills() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Told::start("child_appends", folder.path());
        let mut told = child.wait_for(rand::rng().random_range(1..400));
        told.extend(child.kill());
        let new = acknowledged(&told);
        assert!(new.keys().all(|position| !all.contains_key(position)), "round {round}");
        all.extend(new);
    }
    let log = open_log(folder.path()).await;
    check_log(&log, &all).await;
    eprintln!("{} records acknowledged over {ROUNDS} kills", all.len());
}

/// Not a test by itself: a child's main function.
#[tokio::test]
async fn child_appends() {
    if let Some(folder) = child_folder() {
        support::append_for_ever(&folder).await;
    }
}

#[tokio::test]
async fn commits_are_whole_and_survive_kills() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let mut child = Told::start("child_commits", folder.path());
        let mut told = child.wait_for(rand::rng().random_range(1..12));
        told.extend(child.kill());
        let told: u64 = told.last().unwrap().parse().unwrap();
        let store = open_store(folder.path()).await;
        let snapshot = store.load(0, 0).await.unwrap();
        assert!(snapshot.checkpoint >= told, "round {round}: a commit that was reported is gone");
        // Position n is publication n / 50 + 1 of channel n % 50: so everything follows from the checkpoint.
        let heads: BTreeMap<_, _> = snapshot.heads.into_iter().collect();
        for channel in 0..50 {
            let name = ChannelName::parse(&format!("c:{channel}")).unwrap();
            let expected = (snapshot.checkpoint + 49 - channel) / 50;
            assert_eq!(heads.get(&name).copied().unwrap_or(0), expected, "round {round}");
            let query = HistoryQuery { channel: name, after: 0, before: 0, limit: 1_000_000, reverse: false };
            let rows = store.history(&query).await.unwrap();
            let offsets: Vec<_> = rows.publications.iter().map(|row| row.offset).collect();
            assert_eq!(offsets, (1..=expected).collect::<Vec<_>>(), "round {round}");
        }
        let times: Vec<_> = snapshot.dedup.iter().map(|entry| entry.time_ms).collect();
        assert_eq!(times, (0..snapshot.checkpoint).collect::<Vec<_>>(), "round {round}");
        store.close().await;
    }
}

/// Not a test by itself: a child's main function.
#[tokio::test]
async fn child_commits() {
    let Some(folder) = child_folder() else { return };
    let store = open_store(&folder).await;
    let mut expected = store.load(0, 0).await.unwrap().checkpoint;
    loop {
        let next = expected + 1 + expected % 97;
        let publications = (expected..next).map(|position| StoredPublication {
            channel: ChannelName::parse(&format!("c:{}", position % 50)).unwrap(),
            publication: Arc::new(Publication {
                offset: position / 50 + 1,
                id: None,
                from: None,
                time_ms: position,
                data: Payload::Json(Bytes::from(format!("{position}"))),
            }),
        });
        let dedup = (expected..next).map(|position| DedupEntry {
            key: [7; 16],
            offset: position / 50 + 1,
            time_ms: position,
        });
        let batch = Commit {
            expected,
            next,
            publications: publications.collect(),
            dedup: dedup.collect(),
            dedup_keep: DedupKeep { not_before_ms: 0, entries: usize::MAX },
        };
        store.commit(0, batch).await.unwrap();
        tell(&next.to_string());
        expected = next;
    }
}
