//! Servers that are killed, frozen, full, cut off from their standby, or replaced.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use rand::Rng;
use skywave_ports::{Commit, Store, StoreError};
use skywave_postgres::{PostgresConfig, PostgresStore};
use skywave_servers::volume::{Kind, Volume};
use skywave_servers::{Postgres, PostgresOptions, wait};
use support::{batch, config, epoch, metric, offsets, persist, query, row};

const CHANNELS: u64 = 10;
const ROWS: u64 = 200;

/// Notices quickly, so that a test need not wait.
fn nervous(url: &str) -> PostgresConfig {
    PostgresConfig {
        commit_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(2),
        circuit_pause_max: Duration::from_millis(50),
        ..config(url)
    }
}

async fn open(config: PostgresConfig) -> (Arc<PostgresStore>, Registry) {
    let mut registry = Registry::default();
    let store = PostgresStore::connect(config, "main", epoch(), &mut registry).await.unwrap();
    (Arc::new(store), registry)
}

/// Batch `number` of the test's log: as many rows for each channel.
fn numbered(number: u64) -> Commit {
    let rows = (0..ROWS).map(|n| row(&format!("c:{}", n % CHANNELS), (number * ROWS + n) / CHANNELS + 1));
    batch(number * ROWS, rows.collect())
}

/// Persists batch after batch in the background until told to stop.
struct Writer {
    written: Arc<AtomicU64>,
    stop: Arc<AtomicU64>,
    /// Batches written and attempts that failed.
    task: tokio::task::JoinHandle<(u64, u32)>,
}

impl Writer {
    fn start(store: Arc<PostgresStore>) -> Self {
        let (written, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let task = tokio::spawn({
            let (written, stop) = (Arc::clone(&written), Arc::clone(&stop));
            async move {
                let (mut number, mut failures) = (0, 0);
                while stop.load(Ordering::Relaxed) == 0 {
                    failures += persist(&*store, &numbered(number)).await;
                    number += 1;
                    written.store(number, Ordering::Relaxed);
                }
                (number, failures)
            }
        });
        Self { written, stop, task }
    }

    /// Waits until so many more batches are in the store.
    fn wait_for(&self, more: u64) {
        let until = self.written.load(Ordering::Relaxed) + more;
        let reached = || (self.written.load(Ordering::Relaxed) >= until).then_some(());
        wait::until("commits", reached).unwrap();
    }

    async fn stop(self) -> (u64, u32) {
        self.stop.store(1, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Everything up to the batch, and nothing else.
async fn check(store: &PostgresStore, batches: u64) {
    let snapshot = store.load(0, 0).await.unwrap();
    assert_eq!(snapshot.checkpoint, batches * ROWS);
    let head = batches * ROWS / CHANNELS;
    assert_eq!(snapshot.heads.len() as u64, CHANNELS);
    for (name, stored) in &snapshot.heads {
        assert_eq!(*stored, head, "{name}");
        let (mut after, mut next) = (0, 1);
        while after < head {
            let (_, page) = offsets(store, &query(name.as_str(), after, 0, 1_000)).await;
            assert!(page.iter().copied().eq(next..next + page.len() as u64), "{name}: {page:?}");
            next += page.len() as u64;
            after = next - 1;
        }
        assert_eq!(after, head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_committed_is_lost_or_doubled_by_twenty_kills() {
    let mut server = Postgres::start().unwrap();
    let (store, registry) = open(nervous(&server.url())).await;
    let writer = Writer::start(Arc::clone(&store));
    for _ in 0..20 {
        writer.wait_for(rand::rng().random_range(1..6));
        server.kill9().unwrap();
        server.restart().unwrap();
    }
    writer.wait_for(3);
    let (batches, failures) = writer.stop().await;
    assert!(failures >= 10, "only {failures} attempts met a dead server");
    assert!(metric(&registry, "skywave_postgres_connections_made_total", "commit") > 10.0);
    check(&store, batches).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_noticed_and_writing_goes_on_when_it_thaws() {
    let server = Postgres::start().unwrap();
    let (store, registry) = open(nervous(&server.url())).await;
    let writer = Writer::start(Arc::clone(&store));
    let failures = || metric(&registry, "skywave_postgres_operation_failures_total", "commit");
    for round in 0..3 {
        writer.wait_for(2);
        server.pause().unwrap();
        let before = failures();
        wait::until("a commit given up", || (failures() > before).then_some(())).unwrap();
        let started = Instant::now();
        let read = store.history(&query("c:1", 0, 0, 10)).await;
        assert!(matches!(read, Err(StoreError::Unavailable(_))), "round {round}: {read:?}");
        // Generous: it says that there is a deadline, not how quick the machine is.
        assert!(started.elapsed() < Duration::from_secs(10));
        let opened = || metric(&registry, "skywave_postgres_circuit_opened_total", "commit");
        wait::until("the circuit to open", || (opened() > f64::from(round)).then_some(())).unwrap();
        server.resume().unwrap();
    }
    writer.wait_for(3);
    assert_eq!(metric(&registry, "skywave_postgres_circuit{", "commit"), 0.0);
    let (batches, _) = writer.stop().await;
    check(&store, batches).await;
}

fn unsynced() -> PostgresOptions {
    PostgresOptions { unsynced: true, ..PostgresOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_serves_what_it_has_and_nobody_sees_that_it_lags() {
    let primary = Postgres::start_with(unsynced()).unwrap();
    let replica = primary.replica(unsynced()).unwrap();
    let config = PostgresConfig { replica_url: Some(replica.url()), ..nervous(&primary.url()) };
    let (store, registry) = open(config).await;
    let served = |by: &str| metric(&registry, "skywave_postgres_history_served_total", by);
    let passed_over = |why: &str| metric(&registry, "skywave_postgres_replica_passed_over_total", why);

    store.commit(0, numbered(0)).await.unwrap();
    replica.wait_caught_up(&primary).unwrap();
    assert_eq!(offsets(&*store, &query("c:1", 0, 0, 100)).await, (20, (1..=20).collect()));
    assert_eq!((served("replica"), served("primary")), (1.0, 0.0));

    // It lags: what a commit has returned for is seen all the same, and what it has is still its to serve.
    replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
    store.commit(0, numbered(1)).await.unwrap();
    assert_eq!(offsets(&*store, &query("c:1", 0, 0, 100)).await, (40, (1..=40).collect()));
    assert_eq!((passed_over("behind"), served("primary")), (1.0, 1.0));
    assert_eq!(offsets(&*store, &query("c:1", 3, 21, 100)).await, (40, (4..=20).collect()));
    assert_eq!(offsets(&*store, &query("c:1", 0, 0, 20)).await, (40, (1..=20).collect()));
    assert_eq!(served("replica"), 3.0);
    assert_eq!(offsets(&*store, &query("c:1", 40, 0, 20)).await, (40, vec![]));

    // It hangs, or is gone.
    replica.sql("postgres", "SELECT pg_wal_replay_resume()").unwrap();
    replica.pause().unwrap();
    assert_eq!(offsets(&*store, &query("c:1", 0, 0, 20)).await, (40, (1..=20).collect()));
    assert_eq!(passed_over("failed"), 1.0);
    replica.resume().unwrap();
    replica.wait_caught_up(&primary).unwrap();
    let before = served("replica");
    assert_eq!(offsets(&*store, &query("c:1", 0, 0, 100)).await, (40, (1..=40).collect()));
    assert_eq!(served("replica"), before + 1.0);
}

/// With a synchronous standby: what was committed is on it, and a primary that has lost it commits nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_has_all_that_was_committed_and_the_old_primary_takes_nothing() {
    let mut primary = Postgres::start_with(unsynced()).unwrap();
    let standby = primary.replica(unsynced()).unwrap();
    let (store, _) = open(nervous(&primary.url())).await;
    let synchronous = "ALTER SYSTEM SET synchronous_standby_names = '*'";
    primary.sql("postgres", synchronous).unwrap();
    primary.sql("postgres", "SELECT pg_reload_conf()").unwrap();
    let writer = Writer::start(Arc::clone(&store));
    let state = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    wait::until("the standby", || (primary.sql("postgres", state).ok()? == "1").then_some(())).unwrap();
    writer.wait_for(5);
    let before = writer.written.load(Ordering::Relaxed);
    primary.kill9().unwrap();
    standby.promote().unwrap();
    let (after, _) = open(nervous(&standby.url())).await;
    let snapshot = after.load(0, 0).await.unwrap();
    assert!(snapshot.checkpoint >= before * ROWS, "{} of {before}", snapshot.checkpoint);

    // The old one comes back, and its owner is still at it: it gets nothing committed.
    primary.restart().unwrap();
    let stuck = writer.written.load(Ordering::Relaxed);
    let owned = snapshot.checkpoint / ROWS;
    for number in owned..owned + 5 {
        persist(&*after, &numbered(number)).await;
    }
    assert!(!writer.task.is_finished());
    let old = open(nervous(&primary.url())).await.0;
    let checkpoint = old.load(0, 0).await.unwrap().checkpoint;
    for _ in 0..2 {
        let refused = old.commit(0, numbered(checkpoint / ROWS)).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    assert!(writer.written.load(Ordering::Relaxed) <= stuck + 1);
    writer.task.abort();
    check(&after, owned + 5).await;
}

/// Postgres reports success then, with a warning.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_wait_for_the_standby_was_cancelled_is_unknown() {
    let server = Postgres::start_with(unsynced()).unwrap();
    let config = PostgresConfig { commit_timeout: Duration::from_secs(20), ..nervous(&server.url()) };
    let (store, registry) = open(config).await;
    let (impatient, _) = open(nervous(&server.url())).await;
    store.commit(0, numbered(0)).await.unwrap();
    let standby = |name: &str| {
        server.sql("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'")).unwrap();
        server.sql("postgres", "SELECT pg_reload_conf()").unwrap();
        let shown = || server.sql("postgres", "SHOW synchronous_standby_names");
        wait::until("the setting", || (shown().ok()? == name).then_some(())).unwrap();
    };
    standby("nobody");
    let commit = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit(0, numbered(1)).await }
    });
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    wait::until("the wait", || (server.sql("postgres", cancel).ok()? != "0").then_some(())).unwrap();
    let outcome = commit.await.unwrap();
    assert!(matches!(&outcome, Err(StoreError::Unavailable(why)) if why.contains("warning")), "{outcome:?}");
    assert_eq!(metric(&registry, "skywave_postgres_commits_warned_total", ""), 1.0);

    // It took place here; that it did is not said before it has reached the standby.
    let again = impatient.commit(0, numbered(1)).await;
    assert!(matches!(again, Err(StoreError::Unavailable(_))), "{again:?}");
    standby("");
    let moved = Err(StoreError::CheckpointMoved { expected: ROWS, found: 2 * ROWS });
    wait::until("the zombie to end", || {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event IN ('SyncRep', 'transactionid')";
        (server.sql("postgres", waiting).ok()? == "0").then_some(())
    })
    .unwrap();
    assert_eq!(store.commit(0, numbered(1)).await, moved);
    store.commit(0, numbered(2)).await.unwrap();
    check(&store, 3).await;
}

async fn full_disk(kind: Kind) {
    let Some(volume) = Volume::mount(kind, 200 * 1024) else { return };
    let options = PostgresOptions { folder: Some(volume.data()), ..PostgresOptions::default() };
    let options = options.set("max_wal_size", "64MB").set("min_wal_size", "32MB");
    let mut server = Postgres::start_with(options).unwrap();
    let (store, registry) = open(nervous(&server.url())).await;
    let writer = Writer::start(Arc::clone(&store));
    writer.wait_for(3);
    for round in 0..2 {
        let ballast = volume.fill(2_000_000).unwrap();
        let refused = || metric(&registry, "skywave_postgres_operation_failures_total", "commit");
        let before = refused();
        wait::until("refusals", || (refused() > before + 5.0).then_some(())).unwrap();
        assert!(server.process().log().contains("No space left on device"), "round {round}");
        std::fs::remove_file(ballast).unwrap();
        // A server that could not even write its journal has ended, and whoever looks after it starts it again.
        if server.sql("postgres", "SELECT 1").is_err() {
            let _ = server.kill9();
            server.restart().unwrap();
        }
        writer.wait_for(3);
    }
    let (batches, _) = writer.stop().await;
    check(&store, batches).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_recovers_on_tmpfs() {
    full_disk(Kind::Tmpfs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_recovers_on_ext4() {
    full_disk(Kind::Ext4).await;
}
