//! The store's contract on a real server, and what is this store's own: plans, tables, several processes.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use skywave_ports::{Commit, DedupEntry, DedupKeep, Retention, Store, StoreError, StoredPublication};
use skywave_postgres::PostgresConfig;
use skywave_protocol::{ChannelName, MessageId, Payload, Publication, UserId};
use skywave_servers::wait;
use support::{batch, config, offsets, open, query, row, shared};

fn schema(name: &str) -> String {
    format!("s_{}", name.replace('-', "_"))
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let server = shared();
    let url = server.create_database("conforms").unwrap();
    let open = async |name: &str| open(PostgresConfig { schema: schema(name), ..config(&url) }).await;
    Box::pin(skywave_ports::conformance::store::suite(open)).await;
}

/// The primary as its own replica: one that never lags.
#[tokio::test(flavor = "multi_thread")]
async fn conforms_with_a_replica_and_one_connection_each() {
    let server = shared();
    let url = server.create_database("conforms_with_a_replica").unwrap();
    let open = async |name: &str| {
        let config = PostgresConfig {
            schema: schema(name),
            replica_url: Some(url.clone()),
            commit_connections: 1,
            read_connections: 1,
            replica_connections: 1,
            ..config(&url)
        };
        open(config).await
    };
    Box::pin(skywave_ports::conformance::store::suite(open)).await;
}

#[tokio::test]
async fn a_failed_commit_leaves_nothing_and_the_next_one_works() {
    let server = shared();
    let store = open(config(&server.create_database("failed").unwrap())).await;
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

/// Whenever the caller gives up, the batch is there whole or not at all, and committing goes on.
#[tokio::test]
async fn a_commit_that_is_given_up_is_whole_or_nothing() {
    let server = shared();
    let store = open(config(&server.create_database("given_up").unwrap())).await;
    let (mut expected, mut whole, mut nothing) = (0, 0, 0);
    for polls in 1..=30 {
        let rows = (0..50).map(|n| row(&format!("c:{polls}-{n}"), 1)).collect();
        let batch = batch(expected, rows);
        let mut commit = Box::pin(store.commit(0, batch.clone()));
        let mut left = polls;
        std::future::poll_fn(|context| {
            left -= 1;
            let done = commit.as_mut().poll(context).is_ready() || left == 0;
            if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        drop(commit);
        // What was given up may still be at work; this one waits for it.
        let outcome = store.commit(0, batch.clone()).await;
        match outcome {
            Ok(()) => nothing += 1,
            Err(StoreError::CheckpointMoved { found, .. }) if found == batch.next => whole += 1,
            other => panic!("{other:?}"),
        }
        let snapshot = store.load(0, 0).await.unwrap();
        assert_eq!((snapshot.checkpoint, snapshot.heads.len() as u64), (batch.next, batch.next));
        expected = batch.next;
    }
    assert!(nothing > 0, "some were given up in time");
    assert_eq!(whole + nothing, 30);
}

/// Both compute the same; for each checkpoint one of them wins, and the other one is told.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_exactly_one_wins_each_checkpoint() {
    let server = shared();
    let url = server.create_database("owners").unwrap();
    let stores = [open(config(&url)).await, open(config(&url)).await].map(Arc::new);
    let mut won = [0, 0];
    for round in 0..40u64 {
        let rows: Vec<_> = (0..25).map(|n| row(&format!("c:{n}"), round + 1)).collect();
        let commits = stores.each_ref().map(|store| {
            let (store, batch) = (Arc::clone(store), batch(round * 25, rows.clone()));
            tokio::spawn(async move { store.commit(0, batch).await })
        });
        let mut outcomes = Vec::new();
        for commit in commits {
            outcomes.push(commit.await.unwrap());
        }
        let winner = outcomes.iter().position(Result::is_ok).unwrap();
        won[winner] += 1;
        let moved = StoreError::CheckpointMoved { expected: round * 25, found: (round + 1) * 25 };
        assert_eq!(outcomes[1 - winner], Err(moved));
    }
    assert_eq!(offsets(&*stores[0], &query("c:7", 0, 0, 100)).await, (40, (1..=40).collect()));
    assert!(won[0] + won[1] == 40, "{won:?}");
}

#[tokio::test]
async fn hostile_bytes_come_back_as_they_were() {
    let server = shared();
    let store = open(config(&server.create_database("hostile").unwrap())).await;
    let names =
        ["a'b".replace('\'', "+"), "c:=,~#@/..:--".into(), "x".repeat(255), "n:\\N".replace('\\', "/")];
    let payloads = [
        Payload::Binary(Bytes::from((0..=255).collect::<Vec<u8>>())),
        Payload::Binary(Bytes::from_static(b"PGCOPY\n\xff\r\n\0\\.\n\xff\xff")),
        Payload::Binary(Bytes::from(vec![0; 3_000_000])),
        Payload::Json(Bytes::from_static(br#""\u0000'; DROP TABLE publications; --\\N""#)),
        Payload::Json(Bytes::from_static(br#"{"\ud800":1e400}"#)),
    ];
    let mut rows = Vec::new();
    for name in &names {
        for (data, offset) in payloads.iter().zip(1..) {
            let publication = Arc::new(Publication {
                offset,
                id: MessageId::parse("'\";--\\x00").ok(),
                from: UserId::parse("Robert'); DROP SCHEMA skywave; -- \u{202e}世").ok(),
                time_ms: u64::from(u32::MAX) * 1_000,
                data: data.clone(),
            });
            assert!(publication.id.is_some() && publication.from.is_some());
            rows.push(StoredPublication { channel: ChannelName::parse(name).unwrap(), publication });
        }
    }
    store.commit(0, batch(0, rows.clone())).await.unwrap();
    for name in &names {
        let got = store.history(&query(name, 0, 0, 100)).await.unwrap().publications;
        let sent = rows.iter().filter(|row| row.channel.as_str() == name).map(|row| &row.publication);
        assert!(sent.eq(&got), "{name}");
    }
    let shown = "SELECT count(json), count(\"binary\") FROM skywave.history WHERE channel = 'a+b'";
    assert_eq!(server.sql("hostile", shown).unwrap(), "2|3");
}

#[tokio::test]
async fn dedup_entries_beyond_their_horizon_are_forgotten() {
    let server = shared();
    let store = open(config(&server.create_database("horizon").unwrap())).await;
    for n in 0..60u64 {
        let entry = |k: u64| DedupEntry { key: [n as u8; 16], offset: k, time_ms: n * 100 };
        let commit = Commit {
            expected: n * 1_000,
            next: (n + 1) * 1_000,
            publications: Vec::new(),
            dedup: (0..10).map(entry).collect(),
            dedup_keep: DedupKeep { not_before_ms: (n * 100).saturating_sub(3_000), entries: 95 },
        };
        store.commit(0, commit).await.unwrap();
    }
    let kept = store.load(0, 0).await.unwrap().dedup;
    assert!(kept.len() >= 95 && kept.len() <= 95 + 10 + 5 * 10, "{}", kept.len());
    assert!(kept.windows(2).all(|pair| pair[0].time_ms <= pair[1].time_ms), "in log order");
    assert_eq!(kept.last().map(|entry| entry.time_ms), Some(5_900));
}

/// Retention and commits go on side by side, and history never shows a hole.
#[tokio::test(flavor = "multi_thread")]
async fn retention_and_commits_do_not_disturb_each_other() {
    let server = shared();
    let url = server.create_database("retention").unwrap();
    let store = Arc::new(open(config(&url)).await);
    let other = Arc::new(open(config(&url)).await);
    let enough = Arc::new(AtomicBool::new(false));
    let retaining = [Arc::clone(&store), other].map(|store| {
        let enough = Arc::clone(&enough);
        tokio::spawn(async move {
            let mut removed = 0;
            // Never cut off in a step: the server would hold that step's turn until it notices.
            while !enough.load(Ordering::Relaxed) {
                let retention = Retention { size: 100, not_before_ms: 0 };
                removed += store.retain("c", retention).await.unwrap().removed;
                let heads = store.history(&query("c:1", 0, 0, 1_000)).await.unwrap();
                let kept: Vec<_> = heads.publications.iter().map(|publication| publication.offset).collect();
                assert!(kept.iter().copied().eq(heads.first..heads.first + kept.len() as u64), "dense");
                if kept.len() < 1_000 {
                    assert_eq!(kept.last().map_or(heads.first, |last| last + 1), heads.head + 1);
                }
                if removed >= 20_000 {
                    enough.store(true, Ordering::Relaxed);
                }
            }
        })
    });
    let mut expected = 0;
    while !retaining.iter().any(tokio::task::JoinHandle::is_finished) {
        let round = expected / 1_500;
        let rows = |channel: u64| (1..=500).map(move |n| row(&format!("c:{channel}"), round * 500 + n));
        let batch = batch(expected, (0..3).flat_map(rows).collect());
        store.commit(0, batch.clone()).await.unwrap();
        expected = batch.next;
    }
    enough.store(true, Ordering::Relaxed);
    for task in retaining {
        task.await.unwrap();
    }
    // The first walk began before the last commits, the second after them.
    for _ in 0..2 {
        while !store.retain("c", Retention { size: 100, not_before_ms: 0 }).await.unwrap().complete {}
    }
    let head = expected / 3;
    let kept = offsets(&*store, &query("c:2", 0, 0, 1_000)).await;
    assert_eq!(kept, (head, (head - 99..=head).collect()));
}

#[tokio::test]
async fn a_walk_goes_through_more_channels_than_one_step_takes() {
    let server = shared();
    let store = open(config(&server.create_database("walk").unwrap())).await;
    let rows = |offset| (0..3_500).map(move |n| row(&format!("w:{n}"), offset));
    let batch = Commit { next: 1, ..batch(0, rows(1).chain(rows(2)).chain(rows(3)).collect()) };
    store.commit(0, batch).await.unwrap();
    let (mut removed, mut steps) = (0, 0);
    loop {
        let done = store.retain("w", Retention { size: 100, not_before_ms: 3 }).await.unwrap();
        (removed, steps) = (removed + done.removed, steps + 1);
        if done.complete {
            break;
        }
    }
    assert_eq!((removed, steps > 2), (7_000, true));
    assert_eq!(offsets(&store, &query("w:3499", 0, 0, 9)).await, (3, vec![3]));
}

#[tokio::test]
async fn other_partitions_are_written_while_one_is_locked() {
    let server = shared();
    let url = server.create_database("locked").unwrap();
    let config = PostgresConfig { commit_timeout: std::time::Duration::from_secs(2), ..config(&url) };
    let store = open(config).await;
    store.commit(0, batch(0, vec![row("c:1", 1)])).await.unwrap();
    // An owner that hangs in the middle of its commit.
    let hanging = tokio::task::spawn_blocking({
        let server = Arc::clone(&server);
        move || {
            let hang = "BEGIN; UPDATE skywave.partitions SET checkpoint = 9 WHERE partition = 0; \
                 SELECT pg_sleep(600); ROLLBACK";
            server.sql("locked", hang)
        }
    });
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait::until("the lock", || (server.sql("locked", sleeps).unwrap() != "0").then_some(())).unwrap();
    let stuck = store.commit(0, batch(1, vec![row("c:1", 2)])).await;
    assert!(matches!(stuck, Err(StoreError::Unavailable(_))), "{stuck:?}");
    store.commit(1, batch(0, vec![row("c:2", 1)])).await.unwrap();
    assert!(!hanging.is_finished(), "all this while it was locked");
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    assert_eq!(server.sql("locked", end).unwrap(), "1");
    hanging.await.unwrap().unwrap_err();
    store.commit(0, batch(1, vec![row("c:1", 2)])).await.unwrap();
}
