//! Disks that are full, cannot be written, or lose power. Each test needs to mount a small file system, and says so and
//! passes where it may not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skywave_embedded::{LogOptions, OpenError, SqliteLog, SqliteStore, StoreOptions, random_epoch};
use skywave_ports::{Commit, DedupKeep, Log, LogError, Store, StoreError, StoredPublication};
use skywave_protocol::{ChannelName, Payload, Publication};
use skywave_servers::volume::{Kind, Volume};
use support::{Told, acknowledged, check_log, child_folder, open_log, open_store};

const PATIENCE: Duration = Duration::from_secs(60);

/// Appends until the log refuses; returns the refusal.
async fn append_until_refused(log: &SqliteLog, kept: &mut BTreeMap<u64, String>) -> LogError {
    loop {
        // The form that `check_log` expects: life, writer, number.
        let value = format!("0/0/{}/{}", kept.len(), "x".repeat(3_000));
        match log.append(0, Bytes::new(), value.clone().into()).await {
            Ok(position) => assert_eq!(kept.insert(position, value), None),
            Err(error) => return error,
        }
    }
}

/// Appends until the log takes a record again.
async fn append_until_taken(log: &SqliteLog, kept: &mut BTreeMap<u64, String>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = format!("0/0/{}/again", kept.len());
        match log.append(0, Bytes::new(), value.clone().into()).await {
            Ok(position) => {
                kept.insert(position, value);
                return;
            }
            Err(error) => assert!(Instant::now() < deadline, "still refusing: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn full_log(kind: Kind) {
    let Some(volume) = Volume::mount(kind, 8 * 1024) else { return };
    let mut kept = BTreeMap::new();
    let log = open_log(&volume.data()).await;
    append_until_taken(&log, &mut kept).await;
    for round in 0..3 {
        let ballast = volume.fill(200_000).unwrap();
        let error = append_until_refused(&log, &mut kept).await;
        assert!(matches!(error, LogError::Full(_)), "round {round}: {error}");
        let before = log.bounds(0).await.unwrap();
        for _ in 0..10 {
            let error = log.append(0, Bytes::new(), Bytes::from(vec![0; 300_000])).await.unwrap_err();
            assert!(matches!(error, LogError::Full(_)), "round {round}: {error}");
        }
        assert_eq!(log.bounds(0).await.unwrap(), before, "nothing refused is in the log");
        check_log(&log, &kept).await;
        std::fs::remove_file(ballast).unwrap();
        append_until_taken(&log, &mut kept).await;
    }
    check_log(&log, &kept).await;
    log.close().await;
    check_log(&open_log(&volume.data()).await, &kept).await;
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_recovers_in_memory() {
    full_log(Kind::Tmpfs).await;
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_recovers_on_a_disk() {
    full_log(Kind::Ext4).await;
}

#[tokio::test]
async fn a_log_starts_on_a_full_disk_and_recovers() {
    let Some(volume) = Volume::mount(Kind::Tmpfs, 4 * 1024) else { return };
    let mut kept = BTreeMap::new();
    let log = open_log(&volume.data()).await;
    append_until_taken(&log, &mut kept).await;
    log.close().await;
    let ballast = volume.fill(0).unwrap();
    let started = SqliteLog::open(&volume.data(), LogOptions::default()).await;
    let log = match started {
        Ok(log) => log,
        Err(error) => {
            // Not even the shared memory of the journal fits: the message says what is wrong.
            assert!(matches!(error, OpenError::Unavailable { .. } | OpenError::Folder { .. }), "{error}");
            std::fs::remove_file(&ballast).unwrap();
            open_log(&volume.data()).await
        }
    };
    let _ = std::fs::remove_file(&ballast);
    append_until_taken(&log, &mut kept).await;
    check_log(&log, &kept).await;
}

fn rows(expected: u64, count: u64) -> Commit {
    let publications = (expected..expected + count).map(|n| StoredPublication {
        channel: ChannelName::parse("c:1").unwrap(),
        publication: std::sync::Arc::new(Publication {
            offset: n + 1,
            id: None,
            from: None,
            time_ms: n,
            data: Payload::Binary(Bytes::from(vec![1; 2_000])),
        }),
    });
    Commit {
        expected,
        next: expected + count,
        publications: publications.collect(),
        dedup: Vec::new(),
        dedup_keep: DedupKeep { not_before_ms: 0, entries: 0 },
    }
}

#[tokio::test]
async fn a_full_disk_refuses_commits_and_recovers() {
    let Some(volume) = Volume::mount(Kind::Ext4, 8 * 1024) else { return };
    let store = open_store(&volume.data()).await;
    let mut checkpoint = 0;
    for round in 0..3 {
        store.commit(0, rows(checkpoint, 10)).await.unwrap();
        checkpoint += 10;
        let ballast = volume.fill(300_000).unwrap();
        let refused = loop {
            match store.commit(0, rows(checkpoint, 10)).await {
                Ok(()) => checkpoint += 10,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, StoreError::Unavailable(_)), "round {round}: {refused}");
        assert!(store.commit(0, rows(checkpoint, 10)).await.is_err());
        assert_eq!(store.load(0, 0).await.unwrap().checkpoint, checkpoint, "what was committed can be read");
        std::fs::remove_file(ballast).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match store.commit(0, rows(checkpoint, 10)).await {
                Ok(()) => break checkpoint += 10,
                Err(StoreError::CheckpointMoved { found, .. }) => {
                    panic!("a failed commit took place: {found}")
                }
                Err(error) => assert!(Instant::now() < deadline, "still refusing: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    store.close().await;
    let snapshot = open_store(&volume.data()).await.load(0, 0).await.unwrap();
    assert_eq!((snapshot.checkpoint, snapshot.heads[0].1), (checkpoint, checkpoint));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_refused_at_the_start() {
    let Some(volume) = Volume::mount(Kind::Tmpfs, 4 * 1024) else { return };
    open_log(&volume.data()).await.close().await;
    let root = volume.root();
    let read_only = std::process::Command::new("mount").args(["-o", "remount,ro"]).arg(&root).status();
    if !read_only.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: the volume cannot be made read-only here");
        return;
    }
    let log = SqliteLog::open(&volume.data(), LogOptions::default()).await.err().unwrap();
    assert!(matches!(&log, OpenError::Folder { path, .. } if *path == volume.data()), "{log}");
    let fresh = random_epoch(&mut rand::rng());
    let store = SqliteStore::open(&root.join("new"), StoreOptions::default(), fresh).await.err().unwrap();
    assert!(store.to_string().contains("cannot be written"), "{store}");
}

/// The one test that would fail without syncing before the acknowledgement.
#[tokio::test]
async fn acknowledged_records_survive_power_cuts() {
    let Some(volume) = Volume::mount(Kind::Ext4, 64 * 1024) else { return };
    let mut all = BTreeMap::new();
    for round in 0..10 {
        let mut child = Told::start("child_appends", &volume.data());
        let mut told = child.wait_for(500);
        child.freeze();
        if let Err(reason) = volume.cut_power() {
            child.kill();
            eprintln!("SKIPPED: power cannot be cut here: {reason}");
            return;
        }
        told.extend(child.kill());
        all.extend(acknowledged(&told));
        volume.remount().unwrap();
        let log = open_log(&volume.data()).await;
        check_log(&log, &all).await;
        assert!(all.len() > round * 500);
        log.close().await;
    }
}

/// Not a test by itself: a child's main function.
#[tokio::test]
async fn child_appends() {
    if let Some(folder) = child_folder() {
        support::append_for_ever(&folder).await;
    }
}
